"""The state of each run of a plan, from its record, the lock of its folder and the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.runs.console import percent
from engine.runs.directory import FAILED
from engine.sweep import queue_rows
from engine.sweep.planned import PlannedRun
from engine.sweep.queue_rows import QueueRow
from engine.sweep.records import Records

TO_DO, RUNNING, DONE, STOPPED, FAILING, SET_ASIDE = (
    "to do", "running", "done", "stopped", "failed", "set aside",
)  # fmt: skip
STATES = (DONE, RUNNING, STOPPED, FAILING, SET_ASIDE, TO_DO)


@dataclass(frozen=True)
class Status:
    """One run at this moment."""

    state: str
    epochs: int = 0  # that are trained
    accuracy: float | None = None  # on the test set, after the last epoch
    error: str = ""  # last lines of its output
    after: str = ""  # the run that it waits for
    seconds: float | None = None  # that it took, if it is done

    def text(self, epochs: float) -> str:
        """In a few words."""
        if self.accuracy is not None:
            return f"{self.state}, {percent(self.accuracy)}"
        if self.epochs:
            return f"{self.state}, epoch {min(self.epochs, epochs)}/{epochs}"
        return f"{self.state}, after {self.after}" if self.after else self.state


def status_of(run: PlannedRun, records: Records, rows: Mapping[str, QueueRow]) -> Status:
    """The state of a run."""
    if run.waiting:
        return Status(TO_DO, after=run.weights_from)
    record = records.of(run.fingerprint)
    if record is not None and records.finished(run.fingerprint):
        accuracy, seconds = record.get("test_accuracy"), record.get("seconds")
        return Status(DONE, record["epochs"], accuracy, seconds=seconds)
    epochs = 0 if record is None else int(record.get("epochs") or 0)
    if records.running(run.fingerprint):
        return Status(RUNNING, epochs)
    row = rows.get(run.fingerprint)
    if row is not None and row.state in (queue_rows.SET_ASIDE, queue_rows.FAILED):
        state = SET_ASIDE if row.state == queue_rows.SET_ASIDE else FAILING
        return Status(state, epochs, error=row.error)
    if record is None:
        return Status(TO_DO)
    if record["status"] == FAILED:
        return Status(FAILING, epochs, error=str(record.get("error", "")))
    return Status(STOPPED, epochs)
