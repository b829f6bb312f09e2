"""Checkpoints written by a thread: one at a time, in order, no fault lost, as safe as at once."""

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
from tests.runs.test_crash import die_and_go_on
from tests.runs.test_resume import _flags, _outcome
from tests.support.data import Files
from tests.support.recording_device import FakeRecorder, install


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> FakeRecorder:
    return install(monkeypatch)


def test_a_task_is_done_by_another_thread_and_the_next_after_it() -> None:
    behind, go = BackgroundWriter(wanted=True), threading.Event()
    done: list[tuple[int, bool]] = []

    def task(number: int) -> None:
        assert go.wait(20)
        done.append((number, threading.current_thread() is threading.main_thread()))

    behind.do(lambda: task(1))
    assert done == []  # nobody waited
    go.set()
    behind.do(lambda: task(2))
    assert done[0] == (1, False)
    behind.wait()
    assert done == [(1, False), (2, False)]


def test_without_a_thread_a_task_is_done_at_once() -> None:
    done: list[bool] = []
    BackgroundWriter(wanted=False).do(
        lambda: done.append(threading.current_thread() is threading.main_thread())
    )
    assert done == [True]


@pytest.mark.parametrize("call", ["wait", "do"])
def test_a_fault_is_raised_by_the_next_call_and_once(call: str) -> None:
    behind = BackgroundWriter(wanted=True)

    def faulty() -> None:
        raise OSError("the disk is full")

    behind.do(faulty)
    with pytest.raises(OSError, match="the disk is full"):
        behind.wait() if call == "wait" else behind.do(lambda: None)
    behind.wait()


@pytest.mark.timeout(300)
def test_dead_at_any_durable_operation_of_a_recorded_run_the_same_bytes_come_out(
    files: Files, tmp_path: Path, recorder: FakeRecorder
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # the whole run: eager, written at once
        patch.setattr(replay, "recorder_for", lambda machine: None)
        assert run_command(train.main, _flags(files, tmp_path / "whole", 2, 64)) == 0
    die_and_go_on(files, tmp_path, itertools.count(0, 2))
    assert recorder.copies > 2 * 12


def test_a_disk_that_fails_the_writer_fails_the_run_and_costs_nothing(
    files: Files,
    tmp_path: Path,
    recorder: FakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = _flags(files, tmp_path / "run", 3, 64)
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
        assert run_command(train.main, _flags(files, tmp_path / "whole", 3, 64)) == 0
    assert _outcome(tmp_path / "run") == _outcome(tmp_path / "whole")
