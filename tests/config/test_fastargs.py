"""Each fault of fastargs beside our behaviour; fails when upstream changes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import fastargs
import pytest
from fastargs.validation import InRange

from engine.config import options
from engine.config.schema import Config
from engine.errors import UserError
from tests.support import processes
from tests.support.settings import file_of


def stock(monkeypatch: pytest.MonkeyPatch, *argv: str, checker: Any = int) -> fastargs.Config:
    """Stock fastargs with one option, after reading `argv` in its own way."""
    config = fastargs.Config()
    fastargs.Section("train", "training", config_descriptor=config).params(
        epochs=fastargs.Param(checker, "passes", default=200)
    )
    monkeypatch.setattr(sys, "argv", ["stock", *argv])
    config.augment_argparse(argparse.ArgumentParser())
    return config


def ours(*argv: str) -> options.Parsed[Config]:
    return options.read(Config, argv, program="p", summary="s")


def test_unknown_keys_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = f"--config-file={file_of(tmp_path, 'train: {epoch: 3}')}"
    assert stock(monkeypatch, argument)["train.epochs"] == 200  # silently
    with pytest.raises(UserError, match=r"did you mean train\.epochs\?"):
        ours(argument)


def test_invalid_and_missing_values_end_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        stock(monkeypatch, "--train.epochs=ten").validate()
    assert stopped.value.code is None  # the shell sees 0
    assert "\x1b" in capsys.readouterr().err  # and the log sees terminal codes
    missing = fastargs.Config()
    fastargs.Section("train", config_descriptor=missing).params(
        epochs=fastargs.Param(int, required=True)
    )
    with pytest.raises(SystemExit) as stopped:
        missing.validate()
    assert stopped.value.code is None
    with pytest.raises(UserError):
        ours("--train.epochs=ten")


def test_false_as_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stock(monkeypatch, "--train.epochs=false", checker=bool)["train.epochs"] is True
    assert ours("--schedule.cycle_momentum=false").config.schedule.cycle_momentum is False


def test_fractions_for_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = f"--config-file={file_of(tmp_path, 'train: {epochs: 5.9}')}"
    assert stock(monkeypatch, argument)["train.epochs"] == 5
    with pytest.raises(UserError, match=r"found 5\.9"):
        ours(f"--config-file={file_of(tmp_path, 'train: {batch_size: 5.9}')}")


def test_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = f"--config-file={file_of(tmp_path, 'train: {epochs: .nan}')}"
    value = stock(monkeypatch, argument, checker=InRange(1, 10))["train.epochs"]
    assert value != value
    with pytest.raises(UserError, match="expected a number, above 0"):
        ours(argument)
    with pytest.raises(UserError, match="it must be finite"):
        ours("--optim.lr=nan")


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("train.epochs", "7")
    assert stock(monkeypatch, "--train.epochs=3")["train.epochs"] == 7
    assert ours("--train.epochs=3").config.train.epochs == 3
    assert ours().config.train.epochs == 200


def test_abbreviated_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stock(monkeypatch, "--train.e=3")["train.epochs"] == 3
    with pytest.raises(UserError, match=r"--train\.e: no such option"):
        ours("--train.e=3")


def test_repeated_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stock(monkeypatch, "--train.epochs=3", "--train.epochs=4")["train.epochs"] == 4
    with pytest.raises(UserError, match="given more than once"):
        ours("--train.epochs=3", "--train.epochs=4")


def test_repeated_keys_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = f"--config-file={file_of(tmp_path, 'train: {epochs: 3, epochs: 4}')}"
    assert stock(monkeypatch, argument)["train.epochs"] == 4
    with pytest.raises(UserError, match="already given"):
        ours(argument)


def test_scientific_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument = f"--config-file={file_of(tmp_path, 'optim: {lr: 5e-4}')}"
    config = fastargs.Config()
    fastargs.Section("optim", config_descriptor=config).params(lr=fastargs.Param(InRange(0, 1)))
    config.collect_config_file(argument.partition("=")[2])
    assert config.content[("optim", "lr")] == "5e-4"  # a word to PyYAML
    assert ours(argument).config.optim.lr == 5e-4


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_empty_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    argument = f"--config-file={file_of(tmp_path, text)}"
    with pytest.raises(IndexError):
        stock(monkeypatch, argument)
    with pytest.raises(UserError, match="the file is empty"):
        ours(argument)


def test_the_shared_registry_stays_empty() -> None:
    ours("--train.epochs=3")
    ours("--train.epochs=4")
    assert not fastargs.get_current_config().entries


def test_importing_reads_no_command_line() -> None:
    code = "import sys; sys.argv = None; import engine.config.options"
    processes.succeed(*processes.python("-c", code))
