"""Where a run is executed, behind one small interface: submit, poll, cancel.

An executor takes a job with all that it needs and says at some later poll how it ended. Nothing
else in the sweep knows where a run lives; its result is read from its record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from engine.config.schema import Config

LAST_LINES = 12
LONGEST_TAIL = 20_000  # bytes of a log that are looked at for them


class Outcome(Enum):
    """How a job ended."""

    DONE = "done"
    STOPPED = "stopped"  # its state is saved; submitted again it goes on
    BUSY = "busy"  # another process is at this run
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """One run to be made, or to be continued."""

    name: str
    config: Config  # complete; run.root and run.name say where the run lies
    log: Path  # what it says is added here
    isolated: bool = False  # it may have brought a process down before: give it one of its own


@dataclass(frozen=True)
class Ended:
    """How it ended, and the last lines of what it said."""

    outcome: Outcome
    said: str = ""


class Executor(Protocol):
    """Takes jobs; `room` more may be submitted at this moment."""

    @property
    def room(self) -> int:
        """How many more jobs it would begin at once."""

    @property
    def slots(self) -> int:
        """How many jobs it works on at a time."""

    def submit(self, job: Job) -> int:
        """Begin a job, or have it begin at the next poll; returns its ticket."""

    def poll(self, ticket: int) -> Ended | None:
        """How the job ended, or None while it has not; asked no more after that."""

    def cancel(self, ticket: int) -> None:
        """Ask a job to save its state and stop; `poll` will say that it has."""


def begin_log(log: Path) -> int:
    """Make sure of the log's folder; returns where in it a job will begin to speak."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.stat().st_size if log.exists() else 0


def last_lines(log: Path, since: int) -> str:
    """What a job said last, of what it said after the first `since` bytes."""
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(since, file.tell() - LONGEST_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])
