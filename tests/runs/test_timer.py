"""The times of a run: pauses count for the run and not for training, in any nesting."""

from __future__ import annotations

import pytest

from engine.runs import timer
from engine.runs.timer import Timer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, set by hand."""
    now = [100.0]
    monkeypatch.setattr(timer.time, "monotonic", lambda: now[0])
    return now


def test_a_pause_counts_for_the_run_and_not_for_training(clock: list[float]) -> None:
    times = Timer(seconds=50.0, epoch_seconds=5.0)  # of earlier sessions
    clock[0] += 2
    with times.paused():
        clock[0] += 10
        with times.paused():
            clock[0] += 20
        clock[0] += 40
        assert (times.seconds, times.epoch_seconds) == (122.0, 7.0)
    clock[0] += 1
    assert (times.seconds, times.epoch_seconds) == (123.0, 8.0)


def test_an_epoch_begins_with_the_first_step_after_the_pause(clock: list[float]) -> None:
    times = Timer()
    clock[0] += 3
    with times.paused():
        times.begin_epoch()
        clock[0] += 10
    clock[0] += 2
    assert (times.seconds, times.epoch_seconds) == (15.0, 2.0)
    times.begin_epoch()
    clock[0] += 1
    assert times.epoch_seconds == 1.0
