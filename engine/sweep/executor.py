"""Where a run is executed, behind one small interface: submit, poll, cancel.

An executor takes a job with all that it needs; a later poll returns how it ended. Nothing else in
the sweep knows where a run is executed; its result is read from its record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from engine.config.schema import Config
from engine.errors import OK, RESUMABLE, USER_ERROR
from engine.runs.directory import LOCKED

LAST_LINES = 12
LONGEST_TAIL = 20_000  # bytes of a log in which they are looked for


class Outcome(Enum):
    """How a job ended."""

    DONE = "done"
    STOPPED = "stopped"  # its state is saved; submitted again it goes on
    BUSY = "busy"  # the run is already running in another process
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """One run to begin or to continue."""

    name: str
    config: Config  # complete; run.root and run.name give the run's folder
    log: Path  # its output is appended here
    isolated: bool = False  # its process died once: give it one of its own


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, and the last lines of its output."""

    outcome: Outcome
    output: str = ""


class Running(Protocol):
    """A job that was submitted."""

    def poll(self) -> JobEnd | None:
        """How the job ended, None while it runs; not called again once it has ended."""

    def cancel(self) -> None:
        """Ask the job to save a checkpoint and stop; `poll` then returns that it has."""


class Executor(Protocol):
    """Takes jobs, at most `slots` at a time."""

    @property
    def slots(self) -> int:
        """How many jobs run at a time."""

    def submit(self, job: Job) -> Running:
        """Begin a job, or have it begin at the first poll."""


def outcome_of(code: int, output: str) -> Outcome:
    """What the exit code of training means, with the last lines of its output."""
    if code == USER_ERROR and output.endswith(LOCKED):
        return Outcome.BUSY
    return {OK: Outcome.DONE, RESUMABLE: Outcome.STOPPED}.get(code, Outcome.FAILED)


def begin_log(log: Path) -> int:
    """Make sure that the log's folder exists; returns the log's size before the job."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.stat().st_size if log.exists() else 0


def last_lines(log: Path, since: int) -> str:
    """The last lines of a log, of those after its first `since` bytes."""
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(since, file.tell() - LONGEST_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])
