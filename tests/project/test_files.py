"""A file of unknown origin is read whole or refused in one line: no waiting, no endless read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from engine import files
from engine.errors import UserError


def test_a_regular_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("grün")
    (tmp_path / "link").symlink_to("file")
    assert files.read_text(tmp_path / "link") == "grün"
    assert files.read_bytes(tmp_path / "file", most=5) == "grün".encode()


def test_a_missing_file_is_for_the_caller_to_judge(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "file")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "socket", "endless"])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    path = Path("file")
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            server.bind(str(path))
        else:
            path.symlink_to({"device": "/dev/null", "endless": "/dev/zero", "loop": "file"}[kind])
        with pytest.raises(UserError, match=r"^file: "):
            files.read_bytes(path)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(2**36)  # sparse
    with pytest.raises(UserError, match="larger than 1,000 bytes"):
        files.read_bytes(path, most=1000)


def test_a_file_that_says_it_is_empty_is_not_read_over_the_limit() -> None:
    with pytest.raises(UserError, match="larger than 10 bytes"):
        files.read_bytes(Path("/proc/meminfo"), most=10)
