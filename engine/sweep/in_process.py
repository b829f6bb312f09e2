"""Runs one after another in this process, where those of one architecture share compiled code."""

from __future__ import annotations

import contextlib
import gc
import sys
import traceback
from dataclasses import dataclass
from typing import Protocol

from engine.config.schema import Config
from engine.errors import OK, RESUMABLE, RunFailed, UserError
from engine.runs.directory import LOCKED
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, Outcome, Running, begin_log, last_lines


class Train(Protocol):
    """`engine.train.train`."""

    def __call__(self, config: Config, label: str, stop: Stop) -> int:
        """Train to the end; returns the exit code."""


class InProcess:
    """Executes a job within `poll`; `stop`, which training checks at every step, cancels it.

    After an unexpected error this process is not trusted any more (a GPU's context may be broken,
    memory used up): later jobs go to the executor `other`, as isolated ones always do.
    """

    slots = 1

    def __init__(self, train: Train, stop: Stop, other: Executor) -> None:
        self._train, self._stop, self._other = train, stop, other
        self._trusted = True
        self._frozen = False

    def submit(self, job: Job) -> Running:
        """Begin it at the first poll, or now elsewhere."""
        if job.isolated or not self._trusted:
            return self._other.submit(job)
        return _Here(self, job)

    def run(self, job: Job) -> JobEnd:
        """Run a job to its end."""
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


@dataclass(frozen=True)
class _Here:
    executor: InProcess
    job: Job

    def poll(self) -> JobEnd:
        return self.executor.run(self.job)

    def cancel(self) -> None:
        """The signal that stops the sweep stops the run in its process, too."""
