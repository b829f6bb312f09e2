"""Runs one after another in this process, where those of one architecture share compiled code."""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
import traceback
from collections.abc import Callable
from typing import Protocol

from engine.config.schema import Config
from engine.errors import OK, RESUMABLE, RunFailed, UserError
from engine.runs.directory import LOCKED
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, Outcome, begin_log, last_lines


class Train(Protocol):
    """`engine.train.train`."""

    def __call__(self, config: Config, label: str, stop: Stop) -> int:
        """Train to the end; returns the exit code."""


class InProcess:
    """Executes a job within `poll`; `stop`, which training checks at every step, cancels it.

    After an unexpected error this process is not trusted any more (a GPU's context may be broken,
    memory used up): later jobs, as isolated ones always, go to the executor that `other` makes.
    """

    slots = 1

    def __init__(self, train: Train, stop: Stop, other: Callable[[], Executor]) -> None:
        self._train, self._stop = train, stop
        self._make_other = other
        self._other: Executor | None = None
        self._elsewhere: dict[int, int] = {}  # tickets of `other` by ours
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Job] = {}
        self._trusted = True
        self._frozen = False

    @property
    def room(self) -> int:
        """One at a time."""
        return self.slots - len(self._waiting) - len(self._elsewhere)

    def submit(self, job: Job) -> int:
        """Begin it at the next poll."""
        ticket = next(self._tickets)
        if job.isolated or not self._trusted:
            self._other = self._other or self._make_other()
            self._elsewhere[ticket] = self._other.submit(job)
        else:
            self._waiting[ticket] = job
        return ticket

    def poll(self, ticket: int) -> JobEnd | None:
        """Run the job now."""
        if ticket not in self._elsewhere:
            return self._run(self._waiting.pop(ticket))
        assert self._other is not None
        ended = self._other.poll(self._elsewhere[ticket])
        if ended is not None:
            del self._elsewhere[ticket]
        return ended

    def cancel(self, ticket: int) -> None:
        """The signal that stops the sweep has stopped the run in this process already."""
        if self._other is not None and ticket in self._elsewhere:
            self._other.cancel(self._elsewhere[ticket])

    def _run(self, job: Job) -> JobEnd:
        since = begin_log(job.log)
        with (
            open(job.log, "a", encoding="utf-8", buffering=1) as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            outcome = self._outcome(job)
        self._free()
        return JobEnd(outcome, last_lines(job.log, since))

    def _free(self) -> None:
        """A run's network and data are in reference cycles, which would keep their memory long.

        What is left after the first run are libraries: frozen, or each collection would take half
        a second.
        """
        gc.collect()
        if not self._frozen:
            gc.freeze()
            self._frozen = True

    def _outcome(self, job: Job) -> Outcome:
        """As `run_command` would end it, but this process goes on."""
        if self._stop.requested:  # before it began
            return Outcome.STOPPED
        try:
            code = self._train(job.config, job.config.run.name, self._stop)
        except UserError as error:
            print(*(f"error: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
            return Outcome.BUSY if error.problems[0].endswith(LOCKED) else Outcome.FAILED
        except RunFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return Outcome.FAILED
        except Exception:
            traceback.print_exc()
            self._trusted = False
            return Outcome.FAILED
        return {OK: Outcome.DONE, RESUMABLE: Outcome.STOPPED}.get(code, Outcome.FAILED)
