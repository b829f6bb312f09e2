"""A progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import io
import re
import sys

import pytest

from engine.runs import progress
from engine.runs.progress import Progress, duration


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, set by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_bar_shows_epoch_speed_time_left_and_the_last_numbers(
    monkeypatch: pytest.MonkeyPatch, moments: list[float]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    bar = Progress(epochs=2, steps=10, all_steps=20, samples=1000, quiet=False)
    bar.step(0, 1)
    for step in range(2, 6):
        moments[0] += 1.0
        bar.step(0, step)
    last = terminal.getvalue().split("\r\x1b[2K")[-1]
    assert "epoch 1/2" in last
    assert "100 images/s" in last  # ten steps of 100 images, one per second
    assert "15 s left" in last
    bar.epoch("the epoch's line", "loss 1.234")
    moments[0] += 1.0
    bar.step(1, 1)
    assert "the epoch's line\n" in terminal.getvalue()
    assert terminal.getvalue().endswith("loss 1.234")
    bar.close()
    assert terminal.getvalue().endswith("\r\x1b[2K")
    assert max(len(line) for line in re.split(r"\r\x1b\[2K|\n", terminal.getvalue())) < 120


def test_a_log_gets_plain_lines_and_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress(epochs=2, steps=10, all_steps=20, samples=1000, quiet=False)
    for step in range(1, 11):
        bar.step(0, step)
    bar.epoch("the epoch's line", "short")
    bar.close()
    assert capsys.readouterr().err == "the epoch's line\n"


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress(epochs=2, steps=10, all_steps=20, samples=1000, quiet=True)
    bar.step(0, 1)
    bar.epoch("line", "short")
    bar.say("something")
    bar.close()
    assert capsys.readouterr().err == ""


def test_a_closed_terminal_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    Progress(epochs=1, steps=1, all_steps=1, samples=1, quiet=False).say("hello")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (3729, "1:02:09")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text
