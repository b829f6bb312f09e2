"""The rows of a queue as they are read: one per run, with its state."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from engine.sweep.database import COLUMNS, readable

FILE = "queue.sqlite"
QUEUED, RUNNING, DONE, FAILED, SET_ASIDE = "queued", "running", "done", "failed", "set_aside"
STATES = (QUEUED, RUNNING, DONE, FAILED, SET_ASIDE)


@dataclass(frozen=True)
class QueueRow:
    """One run in the queue."""

    state: str
    attempts: int = 0
    owner: str = ""
    orphaned: int = 0
    error: str = ""


def peek(folder: Path) -> dict[str, QueueRow]:
    """The rows of a sweep that may be running, or may not exist; writes nothing."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as base:
            base.text_factory = readable
            return read_rows(base)
    except sqlite3.Error:
        return {}


def read_rows(base: sqlite3.Connection) -> dict[str, QueueRow]:
    """All of them by their fingerprints."""
    rows = base.execute(f"SELECT {COLUMNS} FROM runs")
    return {fingerprint: row_of(*rest) for fingerprint, *rest in rows}


def row_of(
    state: object, attempts: object, owner: object, orphaned: object, error: object
) -> QueueRow:
    """A row as it was read: what a damaged one says beside the possible is not believed."""
    return QueueRow(
        state if isinstance(state, str) and state in STATES else QUEUED,
        _count(attempts),
        owner if isinstance(owner, str) else "",
        _count(orphaned),
        error if isinstance(error, str) else "",
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 2**31 else 0
