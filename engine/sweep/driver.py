"""The loop of a sweep: claim, submit, poll, note how it ended, until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import FAILED, OK, RESUMABLE
from engine.runs.directory import RunFolder
from engine.signals import Stop
from engine.sweep.executor import Ended, Executor, Job, Outcome
from engine.sweep.live import Live
from engine.sweep.plan import PlannedRun
from engine.sweep.queue import FAILED as FAILED_ONCE
from engine.sweep.queue import QUEUED, RUNNING, SET_ASIDE, Queue
from engine.sweep.results import Results

POLL_SECONDS = 0.05
WAIT_SECONDS = 0.5  # for runs of other processes
BUSY_SECONDS = 3.0  # before a run that another process is at is looked at again


@dataclass
class _Claimed:
    run: PlannedRun
    ticket: int


class Conductor:
    """Works through `runs`; other sweeps may work on the same queue at the same time."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        queue: Queue,
        results: Results,
        executor: Executor,
        live: Live,
        stop: Stop,
        *,
        retries: int,
        logs: Path,
    ) -> None:
        self._runs = {run.fingerprint: run for run in ordered(runs)}
        self._queue, self._results, self._executor = queue, results, executor
        self._live, self._stop, self._retries, self._logs = live, stop, retries, logs
        self._claimed: dict[str, _Claimed] = {}
        self._not_before: dict[str, float] = {}  # of runs that another process is at
        self._cancelled = False

    def run(self) -> int:
        """Until all is done or stopped; returns the exit code."""
        while True:
            self._collect()
            if self._stop.requested:
                self._cancel()
            while not self._stop.requested and self._executor.room > 0 and self._begin_next():
                pass
            if self._claimed:
                time.sleep(POLL_SECONDS)
            elif self._stop.requested:
                return RESUMABLE
            elif not self._left():
                break
            else:
                time.sleep(WAIT_SECONDS)
        rows = self._queue.rows()
        return FAILED if any(rows[f].state == SET_ASIDE for f in self._runs) else OK

    def _left(self) -> bool:
        """Whether anything is still to be done, by us or by others."""
        rows = self._queue.rows()
        return any(rows[f].state in (QUEUED, RUNNING, FAILED_ONCE) for f in self._runs)

    def _begin_next(self) -> bool:
        """Claim and submit one run; false where none is free."""
        now = time.monotonic()
        free = [f for f in self._runs if self._not_before.get(f, 0) <= now]
        claim = self._queue.claim(free)
        if claim is None:
            return False
        fingerprint, row = claim
        run = self._runs[fingerprint]
        self._results.refresh()
        if self._results.finished(fingerprint) is not None:
            self._queue.done(fingerprint)  # by another sweep, or by hand
            self._live.note(f"{run.name}: done elsewhere")
            return True
        folder = self._results.folder(fingerprint) or self._results.root / run.folder
        if RunFolder(folder).locked():
            self._busy(run)
            return True
        config = replace(run.config, run=replace(run.config.run, name=folder.name))
        job = Job(run.name, config, self._logs / f"{folder.name}.log", isolated=row.orphaned > 0)
        self._live.began(run)
        try:
            ticket = self._executor.submit(job)
        except BaseException:
            self._queue.release(fingerprint, "not begun")
            raise
        self._claimed[fingerprint] = _Claimed(run, ticket)
        return True

    def _collect(self) -> None:
        for fingerprint, claimed in list(self._claimed.items()):
            ended = self._executor.poll(claimed.ticket)
            if ended is not None:
                del self._claimed[fingerprint]
                self._ended(claimed.run, ended)

    def _ended(self, run: PlannedRun, ended: Ended) -> None:
        self._results.refresh()
        record = self._results.finished(run.fingerprint)
        if record is not None:
            self._queue.done(run.fingerprint)
            self._live.done(run, record)
        elif ended.outcome is Outcome.STOPPED:
            self._queue.release(run.fingerprint, Outcome.STOPPED.value)
            self._live.stopped(run)
        elif ended.outcome is Outcome.BUSY:
            self._busy(run)
        else:
            said = ended.said
            if ended.outcome is Outcome.DONE:
                said += "\nended well, but left no finished record"
            row = self._queue.failed(run.fingerprint, said, self._retries)
            self._live.failed(run, said, row.attempts, set_aside=row.state == SET_ASIDE)

    def _busy(self, run: PlannedRun) -> None:
        """Another process is at this run: leave it, look again later."""
        if run.fingerprint not in self._not_before:
            self._live.note(f"{run.name}: another process is at it; left to it")
        self._queue.release(run.fingerprint, Outcome.BUSY.value)
        self._not_before[run.fingerprint] = time.monotonic() + BUSY_SECONDS

    def _cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        if self._claimed:
            self._live.note("stopping: what runs saves its exact step first; again: at once")
        for claimed in self._claimed.values():
            self._executor.cancel(claimed.ticket)


def ordered(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Each run once, those of one architecture after one another, else in the file's order."""
    architectures: dict[tuple[str, str], dict[str, PlannedRun]] = {}
    for run in runs:
        key = (run.variant, run.config.runtime.precision)
        architectures.setdefault(key, {}).setdefault(run.fingerprint, run)
    return [run for group in architectures.values() for run in group.values()]
