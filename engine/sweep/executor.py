"""Where a run is executed, behind one small interface: submit, ended, cancel.

An executor takes jobs with all that they need, and says later how each ended. Nothing else in the
sweep knows where a run is executed; its result is read from its record.
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
    LOST = "lost"  # the place where it ran died or cannot be reached: no fault of the run


@dataclass(frozen=True)
class Job:
    """One run to begin or to continue."""

    name: str
    config: Config  # complete; run.root and run.name give the run's folder
    log: Path  # its output is appended here
    isolated: bool = False  # its process died once: give it one of its own


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, the last lines of its output, and where it ran."""

    outcome: Outcome
    output: str = ""
    host: str = ""


class Executor(Protocol):
    """Runs jobs; each has a number, its ticket."""

    @property
    def slots(self) -> int:
        """How many jobs run at a time."""

    @property
    def room(self) -> int:
        """How many more jobs it takes now."""

    def submit(self, job: Job) -> int:
        """Take a job; returns its ticket."""

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        """The jobs that ended since the last call, each once; waits up to `seconds` for one.

        An executor in this process runs its job here, however long that takes.
        """

    def cancel(self, ticket: int) -> None:
        """Ask a job to save a checkpoint and stop; `ended` then says that it has."""


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
