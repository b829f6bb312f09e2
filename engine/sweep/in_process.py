"""Runs one after another in this process, where those of one architecture share compiled code."""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
import traceback
from typing import Protocol

from engine import output
from engine.config.schema import Config
from engine.errors import FAILED, RESUMABLE, run_command
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, begin_log, last_lines, outcome_of
from engine.sweep.processes import host_of


class Train(Protocol):
    """`engine.train.train`."""

    def __call__(self, config: Config, label: str, stop: Stop) -> int:
        """Train to the end; returns the exit code."""


class InProcess:
    """Executes a job within `ended`; `stop`, which training checks at every step, cancels it.

    After an unexpected error this process is not trusted any more (a GPU's context may be broken,
    memory used up): later jobs go to the executor `other`, as isolated ones always do.
    """

    slots = 1

    def __init__(self, train: Train, stop: Stop, other: Executor) -> None:
        self._train, self._stop, self._other = train, stop, other
        self._trusted = True
        self._frozen = False
        self._tickets = itertools.count()
        self._here: dict[int, Job] = {}
        self._elsewhere: dict[int, int] = {}  # our ticket by that of the other executor

    @property
    def room(self) -> int:
        """None while a job has not ended."""
        return self.slots - len(self._here) - len(self._elsewhere)

    def submit(self, job: Job) -> int:
        """Have it begin in `ended`, or now elsewhere."""
        ticket = next(self._tickets)
        if job.isolated or not self._trusted:
            self._elsewhere[self._other.submit(job)] = ticket
        else:
            self._here[ticket] = job
        return ticket

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        """Run the job that was submitted to its end."""
        if self._elsewhere:
            ends = self._other.ended(seconds)
            return [(self._elsewhere.pop(ticket), end) for ticket, end in ends]
        if not self._here:
            time.sleep(seconds)
        return [(ticket, self.run(self._here.pop(ticket))) for ticket in list(self._here)]

    def cancel(self, ticket: int) -> None:
        """A run in this process is stopped by the signal that stops the sweep."""
        for theirs, ours in self._elsewhere.items():
            if ours == ticket:
                self._other.cancel(theirs)

    def run(self, job: Job) -> JobEnd:
        """Run a job to its end."""
        since = begin_log(job.log)
        with (
            open(job.log, "a", encoding="utf-8", buffering=1) as log,
            output.forgiving(log) as unread,
            contextlib.redirect_stdout(unread),
            contextlib.redirect_stderr(unread),
        ):
            code = self._exit_code(job)
        self._free()
        last = last_lines(job.log, since)
        return JobEnd(outcome_of(code, last), last, host_of(None))

    def _free(self) -> None:
        """A run's network and data are in reference cycles, which would keep their memory long.

        What is left after the first run are libraries: frozen, or each collection would take half
        a second.
        """
        gc.collect()
        if not self._frozen:
            gc.freeze()
            self._frozen = True

    def _exit_code(self, job: Job) -> int:
        """As the command would end, but this process goes on."""
        if self._stop.requested:  # before it began
            return RESUMABLE
        try:
            name = job.config.run.name
            return run_command(lambda _: self._train(job.config, name, self._stop), ())
        except Exception:
            traceback.print_exc()
            self._trusted = False
            return FAILED
