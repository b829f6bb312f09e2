"""`make train` writes the data that a config names, and downloads nothing it need not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import run_command
from writers import cifar, prepare

CONFIG = "data: {{train: {folder}/{name}_train.beton, test: {folder}/{name}_test.beton}}\n"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The calls of the writer."""
    argvs: list[list[str]] = []

    def record(argv: Sequence[str]) -> int:
        argvs.append(list(argv))
        print("a path")
        return 0

    monkeypatch.setattr(cifar, "main", record)
    return argvs


def _prepare(folder: Path, name: str, *flags: str) -> int:
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder, name=name))
    return run_command(prepare.main, ["--config-file", str(config), *flags])


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("synthetic", ["--data.source", "synthetic"]),
        ("cifar10", ["--data.name", "cifar10"]),
        ("cifar100", ["--data.name", "cifar100"]),
    ],
)
def test_missing_files_are_written_in_their_folder(
    tmp_path: Path,
    calls: list[list[str]],
    capsys: pytest.CaptureFixture[str],
    name: str,
    flags: list[str],
) -> None:
    assert _prepare(tmp_path, name) == 0
    assert calls == [[*flags, "--data.folder", str(tmp_path)]]
    assert capsys.readouterr().out == ""  # it would become flags of the training


def test_existing_files_and_files_with_other_names_are_left_to_training(
    tmp_path: Path, calls: list[list[str]]
) -> None:
    for split in ("train", "test"):
        (tmp_path / f"synthetic_{split}.beton").touch()
    assert _prepare(tmp_path, "synthetic") == 0
    assert _prepare(tmp_path, "mine") == 0
    assert calls == []


def test_cifar10_in_the_same_folder_is_used_instead_of_the_synthetic_set(
    tmp_path: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        (tmp_path / f"cifar10_{split}.beton").touch()
    assert _prepare(tmp_path, "synthetic") == 0
    out, err = capsys.readouterr()
    assert out.split() == [
        "--data.train", str(tmp_path / "cifar10_train.beton"),
        "--data.test", str(tmp_path / "cifar10_test.beton"),
    ]  # fmt: skip
    assert "instead of the synthetic set" in err
    assert calls == []


def test_data_named_by_flags_wins_over_the_config(tmp_path: Path, calls: list[list[str]]) -> None:
    flags = [f"--data.{split}={tmp_path}/mine_{split}.beton" for split in ("train", "test")]
    assert _prepare(tmp_path, "cifar10", *flags) == 0
    assert calls == []


@pytest.mark.parametrize("flag", ["--list", "--print-config"])
def test_a_flag_that_only_prints_writes_nothing(
    tmp_path: Path, calls: list[list[str]], flag: str
) -> None:
    assert _prepare(tmp_path, "cifar10", flag) == 0
    assert calls == []
