"""Which process has which run: one SQLite file per sweep, shared by all processes that work on it.

The queue holds no results: what is done is known from the runs' records, and a damaged or deleted
queue is made again from them. Runs are claimed in transactions, several at a time. A claim belongs
to a process that holds the lock of a file, which the kernel frees when it dies; then others take
the claim over. Nothing here looks at all rows but the start: a queue may have 100,000.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import secrets
import socket
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from engine import atomic
from engine.errors import with_path
from engine.sweep.database import COLUMNS, as_user_error, one_row, open_database
from engine.sweep.queue_rows import (
    DONE,
    FAILED,
    FILE,
    QUEUED,
    RUNNING,
    SET_ASIDE,
    STATES,
    QueueRow,
    read_rows,
    row_of,
)

WORKERS, LOCK = "workers", "lock"
OWNER = re.compile(r"[\w.-]{1,255}-\d{1,10}-[0-9a-f]{8}")  # host, process, draw: a file's name
LOST, ORPHANED = "lost", "orphaned"  # outcomes of executions
MOST_LOSSES = 3  # each third one counts as a failure
OWNERS_SECONDS = 1.0  # between looks at the owners of runs, while others are free
# Of the runs that were enrolled, those of one state: by the index, whatever SQLite would prefer.
OF_STATE = (
    "FROM runs INDEXED BY runs_by_state WHERE state = ? "
    "AND EXISTS (SELECT 1 FROM wanted WHERE wanted.fingerprint = runs.fingerprint)"
)


class Queue:
    """While entered, this process may claim runs."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self._warn = warn
        host = re.sub(r"[^\w.-]", "_", socket.gethostname())
        self._owner = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock: int | None = None
        self._base: sqlite3.Connection | None = None
        self._owners_seen = -math.inf

    def __enter__(self) -> Queue:
        try:
            (self.folder / WORKERS).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / WORKERS / self._owner, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise with_path(error, error.filename or self.folder) from None
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with self.alone():
            self._base = open_database(self.folder / FILE, self._warn)
        self._base.execute("PRAGMA temp_store = MEMORY")
        self._base.execute("CREATE TEMP TABLE wanted (fingerprint TEXT PRIMARY KEY)")
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
        """Take part in `runs` (names by fingerprint, in the order of claims) and no others.

        Each gets a row that fits the records. With `retry` those that were set aside get all
        their attempts again.
        """
        with self.together() as base:
            base.execute(  # no row of another state would ever be claimed
                f"UPDATE runs SET state = ?, owner = '' "
                f"WHERE state NOT IN ({', '.join('?' * len(STATES))})",
                (QUEUED, *STATES),
            )
            rows = read_rows(base)
            positions = dict(base.execute("SELECT fingerprint, position FROM runs"))
            now = time.time()
            base.execute("DELETE FROM wanted")
            base.executemany("INSERT INTO wanted VALUES (?)", ((each,) for each in runs))
            new, moved, changed = [], [], []
            for position, (fingerprint, name) in enumerate(runs.items()):
                state = DONE if fingerprint in finished else QUEUED
                row = rows.get(fingerprint)
                if row is None:
                    new.append((fingerprint, name, state, now, position))
                    continue
                if positions[fingerprint] != position:
                    moved.append((position, fingerprint))
                if row.state != RUNNING and DONE in (state, row.state) and row.state != state:
                    changed.append((state, row.attempts, now, fingerprint))
                elif retry and row.state in (SET_ASIDE, FAILED):
                    changed.append((QUEUED, 0, now, fingerprint))
            base.executemany(
                "INSERT INTO runs (fingerprint, name, state, changed, position) "
                "VALUES (?, ?, ?, ?, ?)",
                new,
            )
            for update, values in (
                ("position = ?", moved),
                ("state = ?, attempts = ?, changed = ?", changed),
            ):
                if values:
                    update = f"UPDATE runs SET {update} WHERE fingerprint = ?"
                    one_row(base.executemany(update, values), len(values))

    def claim(self, most: int = 1, but: Collection[str] = ()) -> list[tuple[str, QueueRow]]:
        """Take up to `most` runs that are free, `but` not these; those that failed come last."""
        with self.together() as base:
            late = time.monotonic() >= self._owners_seen + OWNERS_SECONDS
            if late:
                self._take_over(base)
            claims = self._free(base, most, but)
            if not claims and not late:
                self._take_over(base)
                claims = self._free(base, most, but)
            now = time.time()
            for fingerprint, _ in claims:
                self._set(base, fingerprint, RUNNING, owner=self._owner)
            base.executemany(
                "INSERT INTO executions (fingerprint, owner, began) VALUES (?, ?, ?)",
                [(fingerprint, self._owner, now) for fingerprint, _ in claims],
            )
        return [
            (fingerprint, replace(row, state=RUNNING, owner=self._owner))
            for fingerprint, row in claims
        ]

    def done(self, fingerprint: str, host: str = "") -> None:
        """The run has its result; it ran on `host`."""
        self._end(fingerprint, DONE, DONE, host)

    def release(self, fingerprint: str, why: str, host: str = "") -> None:
        """Give a claim back without a result or a failure."""
        self._end(fingerprint, QUEUED, why, host)

    def failed(self, fingerprint: str, error: str, retries: int, host: str = "") -> QueueRow:
        """Count a failure; past `retries` further attempts the run is set aside."""
        with self.together() as base:
            row = self._row(base, fingerprint)
            attempts = row.attempts + 1
            state = SET_ASIDE if attempts > retries else FAILED
            self._end(fingerprint, state, FAILED, host, attempts=attempts, error=error)
        return replace(row, state=state, attempts=attempts, owner="", error=error)

    def lost(self, fingerprint: str, error: str, retries: int, host: str = "") -> QueueRow:
        """Give back the claim of a run whose place died; each third time it is a failure."""
        with self.together() as base:
            row = self._row(base, fingerprint)
            orphaned = row.orphaned + 1
            self._set(base, fingerprint, RUNNING, orphaned=orphaned)
            if orphaned % MOST_LOSSES == 0:
                return self.failed(fingerprint, error, retries, host)
            self._end(fingerprint, QUEUED, LOST, host)
        return replace(row, state=QUEUED, owner="", orphaned=orphaned)

    def any_in(self, *states: str) -> bool:
        """Whether any of the runs that were enrolled is in one of `states`."""
        with as_user_error(self.folder / FILE):
            assert self._base is not None
            query = f"SELECT 1 {OF_STATE} LIMIT 1"
            return any(self._base.execute(query, (state,)).fetchone() for state in states)

    def rows(self) -> dict[str, QueueRow]:
        """Every run of the queue by its fingerprint."""
        with as_user_error(self.folder / FILE):
            assert self._base is not None
            return read_rows(self._base)

    @contextlib.contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """While entered, all that is noted is one transaction: the disk is waited for once."""
        assert self._base is not None
        if self._base.in_transaction:
            yield self._base
            return
        with as_user_error(self.folder / FILE):
            self._base.execute("BEGIN IMMEDIATE")
            with self._base:  # commits, or rolls back after an error
                yield self._base

    def _free(
        self, base: sqlite3.Connection, most: int, but: Collection[str]
    ) -> list[tuple[str, QueueRow]]:
        """The first runs that nobody has claimed, with their rows."""
        free: list[tuple[str, QueueRow]] = []
        query = f"SELECT {COLUMNS} {OF_STATE} ORDER BY position LIMIT ?"
        for state in (QUEUED, FAILED):
            rows = base.execute(query, (state, most - len(free) + len(but)))
            free += [(each, row_of(*rest)) for each, *rest in rows if each not in but]
        return free[:most]

    def _take_over(self, base: sqlite3.Connection) -> None:
        """Free the runs of processes that died."""
        self._owners_seen = time.monotonic()
        dead: dict[str, bool] = {self._owner: False}
        query = "SELECT rowid, owner FROM runs INDEXED BY running_by_owner WHERE state = 'running'"
        for row, owner in base.execute(query).fetchall():
            if owner not in dead:
                dead[owner] = not self._lives(owner)
                if dead[owner]:
                    base.execute(
                        "UPDATE executions SET ended = ?, outcome = ? "
                        "WHERE ended IS NULL AND owner = ?",
                        (time.time(), ORPHANED, owner),
                    )
            if dead[owner]:
                update = (
                    "UPDATE runs SET state = ?, owner = '', orphaned = orphaned + 1, changed = ? "
                    "WHERE rowid = ? AND state = 'running'"
                )
                one_row(base.execute(update, (QUEUED, time.time(), row)))

    def _row(self, base: sqlite3.Connection, fingerprint: str) -> QueueRow:
        query = f"SELECT {COLUMNS} FROM runs WHERE fingerprint = ?"
        found = base.execute(query, (fingerprint,)).fetchone()
        if found is None:
            raise sqlite3.DatabaseError("damaged (the row of a run is gone)")
        return row_of(*found[1:])

    def _end(
        self, fingerprint: str, state: str, outcome: str, host: str, **more: int | str
    ) -> None:
        with self.together() as base:
            self._set(base, fingerprint, state, owner="", **more)
            base.execute(
                "UPDATE executions SET ended = ?, outcome = ?, host = ? "
                "WHERE fingerprint = ? AND owner = ? AND ended IS NULL",
                (time.time(), outcome, host, fingerprint, self._owner),
            )

    def _set(
        self, base: sqlite3.Connection, fingerprint: str, state: str, **more: int | str
    ) -> None:
        values = {"state": state, "changed": time.time()} | more
        columns = ", ".join(f"{name} = ?" for name in values)  # names from this module alone
        update = f"UPDATE runs SET {columns} WHERE fingerprint = ?"
        one_row(base.execute(update, (*values.values(), fingerprint)))

    def _lives(self, owner: object) -> bool:
        """Whether the process of this name lives; the file of a dead one is deleted.

        What is no such name, as in a queue that was edited, is nobody's and names no file.
        """
        if not isinstance(owner, str) or OWNER.fullmatch(owner) is None:
            return False
        path = self.folder / WORKERS / owner
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                if atomic.is_locked(path):
                    return True
                path.unlink()
        return False
