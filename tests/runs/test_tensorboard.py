"""TensorBoard events: written, and never the end of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from engine.runs import tensorboard
from engine.runs.tensorboard import Board
from tests.support.runs import Command


class Failing:
    """A writer whose disk is full."""

    def __init__(self, folder: str) -> None:
        self.calls = 0

    def add_scalar(self, *args: Any) -> None:
        self.calls += 1
        raise OSError("no space")

    def flush(self) -> None:
        raise OSError("no space")

    close = flush


def test_a_writer_that_fails_is_dropped_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(None)
    board._writer = writer = Failing("")
    board.add(1, {"loss": 1.0, "accuracy": 0.5})
    board.add(2, {"loss": 1.0})
    board.close()
    assert writer.calls == 1
    assert "training continues" in capsys.readouterr().err


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    board = Board(None)
    board.add(1, {"loss": 1.0})
    board.close()
    assert not list(tmp_path.iterdir())


def test_a_missing_installation_is_named_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert command("--run.tensorboard", "true") == 2
    error = "error: run.tensorboard: tensorboard is not installed; try: pip install tensorboard\n"
    assert capsys.readouterr().err == error
    assert not list(tmp_path.iterdir())


def test_an_installation_that_fails_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    Board(tmp_path).add(1, {"loss": 1.0})
    assert "training continues" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_numbers_reach_the_events_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    board = tensorboard.Board(tmp_path)
    board.add(1, {"loss": 1.25})
    board.close()
    (events,) = tmp_path.iterdir()
    assert b"loss" in events.read_bytes()
