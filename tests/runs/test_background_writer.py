"""Checkpoints written by a thread: one at a time, in order, no error lost, as safe as without."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from pathlib import Path

import pytest

from engine import train
from engine.errors import run_command
from engine.runs import checkpoint
from engine.runs.background import BackgroundWriter
from engine.step import replay
from tests.support.data import Files
from tests.support.dying import die_and_continue
from tests.support.recording_device import FakeRecorder, install
from tests.support.runs import exact_flags, outcome


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> FakeRecorder:
    return install(monkeypatch)


def test_tasks_run_in_another_thread_one_after_the_other() -> None:
    writer, go = BackgroundWriter(threaded=True), threading.Event()
    done: list[tuple[int, bool]] = []

    def task(number: int) -> None:
        assert go.wait(20)
        done.append((number, threading.current_thread() is threading.main_thread()))

    writer.do(lambda: task(1))
    assert done == []  # `do` did not wait
    go.set()
    writer.do(lambda: task(2))
    assert done[0] == (1, False)
    writer.wait()
    assert done == [(1, False), (2, False)]


def test_without_a_thread_a_task_runs_at_once() -> None:
    done: list[bool] = []
    BackgroundWriter(threaded=False).do(
        lambda: done.append(threading.current_thread() is threading.main_thread())
    )
    assert done == [True]


@pytest.mark.parametrize("call", ["wait", "do"])
def test_an_error_is_raised_once_by_the_next_call(call: str) -> None:
    writer = BackgroundWriter(threaded=True)

    def failing() -> None:
        raise OSError("the disk is full")

    writer.do(failing)
    with pytest.raises(OSError, match="the disk is full"):
        writer.wait() if call == "wait" else writer.do(lambda: None)
    writer.wait()


@pytest.mark.parametrize("every", [6, pytest.param(2, marks=pytest.mark.slow)])
def test_a_recorded_run_that_dies_at_any_durable_operation_continues_to_the_same_bytes(
    files: Files, tmp_path: Path, recorder: FakeRecorder, every: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # the whole run: eager, written at once
        patch.setattr(replay, "recorder_for", lambda machine: None)
        assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 64)) == 0
    die_and_continue(files, tmp_path, itertools.count(0, every))
    assert recorder.copies > 12


def test_a_full_disk_in_the_writer_ends_the_run_and_loses_nothing(
    files: Files,
    tmp_path: Path,
    recorder: FakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = exact_flags(files, tmp_path / "run", 3, 64)
    real = checkpoint.save
    writers: list[threading.Thread] = []

    def full(folder: Path, step: int, *rest: object) -> Path:
        writers.append(threading.current_thread())
        if len(writers) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        return real(folder, step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", full)
    assert run_command(train.main, flags) == 2
    assert "no space left on the disk" in capsys.readouterr().err
    assert threading.main_thread() not in writers
    assert run_command(train.main, flags) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "recorder_for", lambda machine: None)
        assert run_command(train.main, exact_flags(files, tmp_path / "whole", 3, 64)) == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
