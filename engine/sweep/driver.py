"""The loop of a sweep: claim, submit, note how each run ended, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import FAILED, OK, RESUMABLE, UserError
from engine.runs.directory import RunFolder
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, Outcome
from engine.sweep.live import LiveView
from engine.sweep.planned import PlannedRun
from engine.sweep.queue import Queue
from engine.sweep.queue_rows import FAILED as FAILED_ONCE
from engine.sweep.queue_rows import FILE, QUEUED, RUNNING, SET_ASIDE, QueueRow
from engine.sweep.records import Records

POLL_SECONDS = 0.05
WAIT_SECONDS = 0.5  # for runs of other processes
BUSY_SECONDS = 3.0  # before a run of another process is looked at again
LOOK_SECONDS = 60.0  # between looks at all records; and 20 times as long as a look takes
PORTION = 256  # of claims in one transaction, at most


@dataclass(frozen=True)
class _Submitted:
    run: PlannedRun
    folder: Path
    saved_step: int  # when it was submitted


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = {run.fingerprint: run for run in runs}
        self._queue, self._records, self._executor = queue, records, executor
        self._live, self._stop, self._retries, self._logs = live, stop, retries, logs
        self._clock = clock
        self._submitted: dict[int, _Submitted] = {}  # by ticket
        self._not_before: dict[str, float] = {}  # of runs of other processes
        self._found_busy: set[str] = set()
        self._found_done: set[str] = set()
        self._look_at = clock() + LOOK_SECONDS
        self._claim_at = 0.0
        self._cancelled = False
        self._enrolled_again = False

    def run(self) -> int:
        """Work until all is done or stopped; returns the exit code."""
        while True:
            self._look_at_all()
            if self._stop.requested:
                self._cancel()
            while not self._stop.requested and self._begin_some():
                pass
            seconds = POLL_SECONDS
            if not self._submitted:
                if self._stop.requested:
                    return RESUMABLE
                if not self._left() and not self._put_back():
                    break
                seconds = WAIT_SECONDS
            ends = self._executor.ended(seconds)
            if ends:
                self._claim_at = 0.0
                with self._queue.together():
                    for ticket, end in ends:
                        self._note_end(self._submitted.pop(ticket), end)
        return FAILED if self._without_result() else OK

    def _put_back(self) -> bool:
        """Queue again, once, the runs that the queue takes for done and that have no result."""
        self._records.refresh()
        aside = {f for f, row in self._queue.rows().items() if row.state == SET_ASIDE}
        if self._enrolled_again or not self._without_result() - aside:
            return False
        self._enrolled_again = True
        names = {fingerprint: run.name for fingerprint, run in self._runs.items()}
        self._queue.enrol(names, names.keys() - self._without_result(), retry=False)
        return True

    def _without_result(self) -> set[str]:
        """The runs without a finished record."""
        return {each for each in self._runs if self._records.finished(each) is None}

    def _left(self) -> bool:
        """Whether any run is still to be done, by this process or another."""
        return self._queue.any_in(QUEUED, FAILED_ONCE, RUNNING)

    def _look_at_all(self) -> None:
        """Now and then, what other processes and commands have finished."""
        now = self._clock()
        if now >= self._look_at:
            began = time.monotonic()
            self._records.refresh()
            self._live.recount()
            self._look_at = now + max(LOOK_SECONDS, 20 * (time.monotonic() - began))

    def _begin_some(self) -> bool:
        """Claim and submit runs; false where none is free, or no room for one."""
        room, now = min(self._executor.room, PORTION), self._clock()
        if room <= 0 or now < self._claim_at:
            return False
        self._not_before = {f: until for f, until in self._not_before.items() if until > now}
        claims = self._queue.claim(room, self._not_before)
        with self._queue.together():
            for number, (fingerprint, row) in enumerate(claims):
                try:
                    self._begin(self._runs[fingerprint], row)
                except BaseException:
                    for left, _ in claims[number:]:
                        self._queue.release(left, "not begun")
                    raise
        if not claims:  # until something ends here, or in another process
            self._claim_at = now + WAIT_SECONDS
        return bool(claims)

    def _begin(self, run: PlannedRun, row: QueueRow) -> None:
        folder = self._records.folder(run.fingerprint) or self._records.root / run.folder
        self._records.look(folder)
        record = self._records.of(run.fingerprint) or {}
        if self._records.finished(run.fingerprint) is not None:
            if run.fingerprint in self._found_done:
                raise UserError(
                    f"{self._queue.folder / FILE}: damaged (it offers {run.name} again and again, "
                    "which is done); run the same command again: it continues from the records"
                )
            self._found_done.add(run.fingerprint)
            self._queue.done(run.fingerprint)
            self._live.done_elsewhere(run)
            return
        if RunFolder(folder).locked():
            self._busy(run)
            return
        config = replace(run.config, run=replace(run.config.run, name=folder.name))
        job = Job(run.name, config, self._logs / f"{folder.name}.log", isolated=row.orphaned > 0)
        self._live.began(run, folder)
        ticket = self._executor.submit(job)
        self._submitted[ticket] = _Submitted(run, folder, record.get("saved_step") or 0)

    def _note_end(self, submitted: _Submitted, end: JobEnd) -> None:
        run = submitted.run
        self._records.look(submitted.folder)
        record = self._records.finished(run.fingerprint)
        if record is not None:
            self._queue.done(run.fingerprint, end.host)
            self._live.done(run, record)
        elif end.outcome is Outcome.STOPPED:
            self._queue.release(run.fingerprint, Outcome.STOPPED.value, end.host)
            self._live.stopped(run)
        elif end.outcome is Outcome.BUSY:
            self._busy(run)
        elif end.outcome is Outcome.LOST:
            self._lost(submitted, end)
        else:
            output = end.output
            if end.outcome is Outcome.DONE:
                output += "\nended with exit code 0, but left no finished record"
            row = self._queue.failed(run.fingerprint, output, self._retries, end.host)
            self._live.failed(run, output, row.attempts, set_aside=row.state == SET_ASIDE)

    def _lost(self, submitted: _Submitted, end: JobEnd) -> None:
        """Its place died. A run that had come further since it began is not to blame at all."""
        run = submitted.run
        record = self._records.of(run.fingerprint) or {}
        if (record.get("saved_step") or 0) > submitted.saved_step:
            self._queue.release(run.fingerprint, Outcome.LOST.value, end.host)
            self._live.lost(run, end.host)
            return
        output = f"{end.output}\nlost with {end.host or 'its place'}, for the third time".lstrip()
        row = self._queue.lost(run.fingerprint, output, self._retries, end.host)
        if row.state == QUEUED:
            self._live.lost(run, end.host)
        else:
            self._live.failed(run, output, row.attempts, set_aside=row.state == SET_ASIDE)

    def _busy(self, run: PlannedRun) -> None:
        """Leave a run that is running in another process, and look again later."""
        first = run.fingerprint not in self._found_busy
        self._found_busy.add(run.fingerprint)
        self._live.busy(run, first=first)
        self._queue.release(run.fingerprint, Outcome.BUSY.value)
        self._not_before[run.fingerprint] = self._clock() + BUSY_SECONDS

    def _cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        if self._submitted:
            self._live.note(
                "stopping: running jobs save a checkpoint first; press Ctrl-C again to stop at once"
            )
        for ticket in self._submitted:
            self._executor.cancel(ticket)


def ordered(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs of one architecture after one another, else in the file's order."""
    architectures: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in runs:
        key = (run.variant, run.config.runtime.precision)
        architectures.setdefault(key, []).append(run)
    return [run for group in architectures.values() for run in group]
