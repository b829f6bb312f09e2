"""Which process has which run: one SQLite file per sweep, shared by all processes that work on it.

The queue holds no results: what is done is known from the runs' records, and a damaged or deleted
queue is made again from them. Runs are claimed in transactions. A claim belongs to a process that
holds the lock of a file, which the kernel frees when it dies; then others take the claim over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine import atomic
from engine.errors import with_path
from engine.sweep.database import COLUMNS, as_user_error, open_database

FILE, WORKERS, LOCK = "queue.sqlite", "workers", "lock"
QUEUED, RUNNING, DONE, FAILED, SET_ASIDE = "queued", "running", "done", "failed", "set_aside"


@dataclass(frozen=True)
class QueueRow:
    """One run in the queue."""

    state: str
    attempts: int = 0
    owner: str = ""
    orphaned: int = 0
    error: str = ""


class Queue:
    """While entered, this process may claim runs."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self._warn = warn
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock: int | None = None
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> Queue:
        try:
            (self.folder / WORKERS).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / WORKERS / self._owner, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise with_path(error, error.filename or self.folder) from None
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with self.alone():
            self._base = open_database(self.folder / FILE, self._warn)
        return self

    def __exit__(self, *error: object) -> None:
        if self._base is not None:
            self._base.close()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.folder / WORKERS / self._owner).unlink()
            os.close(self._lock)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While entered, no other process opens the queue or writes the plan."""
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def enrol(self, runs: Mapping[str, str], finished: Container[str], *, retry: bool) -> None:
        """Make sure that each of `runs` (names by fingerprint) has a row that fits the records.

        With `retry` those that were set aside get all their attempts again.
        """
        with self._transaction() as base:
            rows = _rows(base)
            for fingerprint, name in runs.items():
                state = DONE if fingerprint in finished else QUEUED
                row = rows.get(fingerprint)
                if row is None:
                    base.execute(
                        "INSERT INTO runs (fingerprint, name, state, changed) VALUES (?, ?, ?, ?)",
                        (fingerprint, name, state, time.time()),
                    )
                elif row.state != RUNNING and DONE in (state, row.state) and row.state != state:
                    self._set(base, fingerprint, state)
                elif retry and row.state in (SET_ASIDE, FAILED):
                    self._set(base, fingerprint, QUEUED, attempts=0)

    def claim(self, fingerprints: Sequence[str]) -> tuple[str, QueueRow] | None:
        """Take the first of `fingerprints` that is free; those that failed before come last."""
        with self._transaction() as base:
            rows = _rows(base)
            free = [f for f in fingerprints if f in rows and self._is_free(rows[f])]
            free.sort(key=lambda fingerprint: rows[fingerprint].state == FAILED)
            if not free:
                return None
            fingerprint = free[0]
            row = rows[fingerprint]
            orphaned = row.orphaned + (row.state == RUNNING)
            self._set(base, fingerprint, RUNNING, owner=self._owner, orphaned=orphaned)
            base.execute(
                "INSERT INTO executions (fingerprint, owner, began) VALUES (?, ?, ?)",
                (fingerprint, self._owner, time.time()),
            )
            return fingerprint, replace(row, state=RUNNING, owner=self._owner, orphaned=orphaned)

    def done(self, fingerprint: str) -> None:
        """The run has its result."""
        self._end(fingerprint, DONE, DONE)

    def release(self, fingerprint: str, why: str) -> None:
        """Give a claim back without a result or a failure."""
        self._end(fingerprint, QUEUED, why)

    def failed(self, fingerprint: str, error: str, retries: int) -> QueueRow:
        """Count a failure; past `retries` further attempts the run is set aside."""
        attempts = self.rows()[fingerprint].attempts + 1
        state = SET_ASIDE if attempts > retries else FAILED
        self._end(fingerprint, state, FAILED, attempts=attempts, error=error)
        return QueueRow(state, attempts, error=error)

    def rows(self) -> dict[str, QueueRow]:
        """Every run of the queue by its fingerprint."""
        with as_user_error(self.folder / FILE):
            assert self._base is not None
            return _rows(self._base)

    def _end(self, fingerprint: str, state: str, outcome: str, **more: int | str) -> None:
        with self._transaction() as base:
            self._set(base, fingerprint, state, owner="", **more)
            base.execute(
                "UPDATE executions SET ended = ?, outcome = ? "
                "WHERE fingerprint = ? AND owner = ? AND ended IS NULL",
                (time.time(), outcome, fingerprint, self._owner),
            )

    def _set(
        self, base: sqlite3.Connection, fingerprint: str, state: str, **more: int | str
    ) -> None:
        values = {"state": state, "changed": time.time()} | more
        columns = ", ".join(f"{name} = ?" for name in values)  # names from this module alone
        base.execute(
            f"UPDATE runs SET {columns} WHERE fingerprint = ?", (*values.values(), fingerprint)
        )

    def _is_free(self, row: QueueRow) -> bool:
        if row.state == RUNNING:
            return row.owner != self._owner and not self._lives(row.owner)
        return row.state in (QUEUED, FAILED)

    def _lives(self, owner: str) -> bool:
        path = self.folder / WORKERS / owner
        if atomic.is_locked(path):
            return True
        with contextlib.suppress(OSError):
            path.unlink()
        return False

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._base is not None
        with as_user_error(self.folder / FILE):
            self._base.execute("BEGIN IMMEDIATE")
            with self._base:  # commits, or rolls back after an error
                yield self._base


def peek(folder: Path) -> dict[str, QueueRow]:
    """The rows of a sweep that may be running, or may not exist; writes nothing."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as base:
            return _rows(base)
    except sqlite3.Error:
        return {}


def _rows(base: sqlite3.Connection) -> dict[str, QueueRow]:
    rows = base.execute(f"SELECT {COLUMNS} FROM runs")
    return {fingerprint: QueueRow(*rest) for fingerprint, *rest in rows}
