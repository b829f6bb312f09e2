"""What is no config file is refused at once: missing, huge, special, not text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.settings import file_of, holds, problems_of


def test_a_missing_file_suggests_a_similar_one(tmp_path: Path) -> None:
    file_of(tmp_path, "train: {epochs: 3}")
    (problem,) = problems_of([f"--config-file={tmp_path}/d.yaml"])
    expected = f"{tmp_path}/d.yaml: no such config file; did you mean {tmp_path}/c.yaml?"
    assert problem == expected


def test_folders_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert holds(problems_of([f"--config-file={tmp_path}"]), "not a regular file")
    assert holds(problems_of([f"--config-file={tmp_path}/pipe"]), "not a regular file")
    assert holds(problems_of(["--config-file=/dev/zero"]), "not a regular file")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"data: {train: \xff\xfe}", "line 1: not valid UTF-8"),
        ("train: {epochs: 3}".encode("utf-16"), "not valid UTF-8"),
        (b"#" * 1_000_001, "larger than 1,000,000 bytes"),
        (b"train: {epochs: 3}\n\0", "line 2: a character that YAML forbids"),
        (b"\x80\x04}q\x00.", "not valid UTF-8"),
    ],
    ids=["latin", "utf-16", "huge", "nul", "pickle"],
)
def test_files_that_are_no_yaml_are_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    assert holds(problems_of([f"--config-file={path}"]), part)


def test_unreadable_names_are_refused() -> None:
    assert holds(problems_of(["--config-file=a\0b"]), "not readable as a config file")
    assert holds(problems_of(["--config-file=" + "a" * 5000]), "not readable as a config file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, "train: {epochs: 3}")
    path.chmod(0)
    assert holds(problems_of([f"--config-file={path}"]), "Permission denied")


def test_thousands_of_mistakes_are_all_reported(tmp_path: Path) -> None:
    path = file_of(tmp_path, "\n".join(f"unknown_{i}: 3" for i in range(3000)))
    assert len(problems_of([f"--config-file={path}"])) == 3000
