"""The loop of a sweep: claim, submit, poll, note how each run ended, until none is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import FAILED, OK, RESUMABLE
from engine.runs.directory import RunFolder
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, Outcome, Running
from engine.sweep.live import LiveView
from engine.sweep.planned import PlannedRun
from engine.sweep.queue import FAILED as FAILED_ONCE
from engine.sweep.queue import QUEUED, RUNNING, SET_ASIDE, Queue
from engine.sweep.records import Records

POLL_SECONDS = 0.05
WAIT_SECONDS = 0.5  # for runs of other processes
BUSY_SECONDS = 3.0  # before a run of another process is looked at again


class Driver:
    """Works through `runs`, all different; others may work on the same queue at the same time."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        queue: Queue,
        records: Records,
        executor: Executor,
        live: LiveView,
        stop: Stop,
        *,
        retries: int,
        logs: Path,
    ) -> None:
        self._runs = {run.fingerprint: run for run in ordered(runs)}
        self._queue, self._records, self._executor = queue, records, executor
        self._live, self._stop, self._retries, self._logs = live, stop, retries, logs
        self._running: dict[str, Running] = {}  # by fingerprint
        self._not_before: dict[str, float] = {}  # of runs of other processes
        self._cancelled = False

    def run(self) -> int:
        """Work until all is done or stopped; returns the exit code."""
        while True:
            self._collect()
            if self._stop.requested:
                self._cancel()
            while not self._stop.requested and self._has_room() and self._begin_next():
                pass
            if self._running:
                time.sleep(POLL_SECONDS)
            elif self._stop.requested:
                return RESUMABLE
            elif not self._left():
                break
            else:
                time.sleep(WAIT_SECONDS)
        rows = self._queue.rows()
        return FAILED if any(rows[f].state == SET_ASIDE for f in self._runs) else OK

    def _has_room(self) -> bool:
        return len(self._running) < self._executor.slots

    def _left(self) -> bool:
        """Whether any run is still to be done, by this process or another."""
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
        self._records.refresh()
        if self._records.finished(fingerprint) is not None:
            self._queue.done(fingerprint)
            self._live.note(f"{run.name}: already done elsewhere; skipped")
            return True
        folder = self._records.folder(fingerprint) or self._records.root / run.folder
        if RunFolder(folder).locked():
            self._busy(run)
            return True
        config = replace(run.config, run=replace(run.config.run, name=folder.name))
        job = Job(run.name, config, self._logs / f"{folder.name}.log", isolated=row.orphaned > 0)
        self._live.began(run)
        try:
            self._running[fingerprint] = self._executor.submit(job)
        except BaseException:
            self._queue.release(fingerprint, "not begun")
            raise
        return True

    def _collect(self) -> None:
        for fingerprint, running in list(self._running.items()):
            end = running.poll()
            if end is not None:
                del self._running[fingerprint]
                self._note_end(self._runs[fingerprint], end)

    def _note_end(self, run: PlannedRun, end: JobEnd) -> None:
        self._records.refresh()
        record = self._records.finished(run.fingerprint)
        if record is not None:
            self._queue.done(run.fingerprint)
            self._live.done(run, record)
        elif end.outcome is Outcome.STOPPED:
            self._queue.release(run.fingerprint, Outcome.STOPPED.value)
            self._live.stopped(run)
        elif end.outcome is Outcome.BUSY:
            self._busy(run)
        else:
            output = end.output
            if end.outcome is Outcome.DONE:
                output += "\nended with exit code 0, but left no finished record"
            row = self._queue.failed(run.fingerprint, output, self._retries)
            self._live.failed(run, output, row.attempts, set_aside=row.state == SET_ASIDE)

    def _busy(self, run: PlannedRun) -> None:
        """Leave a run that is running in another process, and look again later."""
        if run.fingerprint not in self._not_before:
            self._live.note(f"{run.name}: already running in another process; skipped")
        self._queue.release(run.fingerprint, Outcome.BUSY.value)
        self._not_before[run.fingerprint] = time.monotonic() + BUSY_SECONDS

    def _cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        if self._running:
            self._live.note(
                "stopping: running jobs save a checkpoint first; press Ctrl-C again to stop at once"
            )
        for running in self._running.values():
            running.cancel()


def ordered(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs of one architecture after one another, else in the file's order."""
    architectures: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in runs:
        key = (run.variant, run.config.runtime.precision)
        architectures.setdefault(key, []).append(run)
    return [run for group in architectures.values() for run in group]
