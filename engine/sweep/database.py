"""The SQLite file of a queue: opened and checked; a damaged one is kept and begun anew."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import UserError

FORMAT = 2  # SQLite's user_version
SECONDS_FOR_A_LOCK = 60.0
COLUMNS = "fingerprint, state, attempts, owner, orphaned, error"

FIRST = """
CREATE TABLE runs (
    fingerprint TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,  -- that failed
    owner TEXT NOT NULL DEFAULT '',       -- file in workers/ whose lock its claimer holds
    orphaned INTEGER NOT NULL DEFAULT 0,  -- times its claimer, or where it ran, died
    error TEXT NOT NULL DEFAULT '',       -- last lines of the last failure
    changed REAL NOT NULL
);
CREATE TABLE executions (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    owner TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL,
    outcome TEXT
);
"""
# A claim looks at the rows that it takes, not at all: those of one state lie in order.
SECOND = """
ALTER TABLE runs ADD COLUMN position INTEGER NOT NULL DEFAULT 0;  -- the order of claims
ALTER TABLE executions ADD COLUMN host TEXT NOT NULL DEFAULT '';  -- where it ran
CREATE INDEX runs_by_state ON runs (state, position);
CREATE INDEX running_by_owner ON runs (owner) WHERE state = 'running';
CREATE INDEX open_executions ON executions (fingerprint) WHERE ended IS NULL;
"""


def open_database(path: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """The database; a damaged one is kept beside it and begun anew."""
    try:
        # A rollback journal, not WAL: it needs no shared memory, and there is little to write.
        base = sqlite3.connect(path, timeout=SECONDS_FOR_A_LOCK, isolation_level=None)
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be opened ({error})") from None
    try:
        if base.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages do not fit together")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version == 0 and not base.execute("SELECT name FROM sqlite_master").fetchall():
            base.executescript(f"BEGIN; {FIRST} {SECOND} PRAGMA user_version = {FORMAT}; COMMIT")
        elif version == 1:
            base.executescript(f"BEGIN; {SECOND} PRAGMA user_version = {FORMAT}; COMMIT")
        elif version != FORMAT:
            base.close()
            raise UserError(
                f"{path}: a queue of format {version}; this version reads 1 and {FORMAT}. The "
                "records do not depend on it: move it away to begin a new one"
            )
        base.execute(f"SELECT {COLUMNS} FROM runs LIMIT 1")
    except sqlite3.DatabaseError as error:
        base.close()
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise UserError(f"{path}: cannot be used ({error})") from None
        kept = _keep_aside(path)
        warn(
            f"warning: {path}: damaged ({error}), kept as {kept.name}; "
            "a new one is made from the records"
        )
        return open_database(path, warn)
    return base


def _keep_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.bad-{number}")).exists():
        number += 1
    path.rename(kept)
    journal = path.with_name(path.name + "-journal")
    if journal.exists():
        journal.rename(kept.with_name(kept.name + "-journal"))
    return kept


@contextlib.contextmanager
def as_user_error(path: Path) -> Iterator[None]:
    """Turn an error of the database into a user's error of one line."""
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(
            f"{path}: {error}; run the same command again: it continues from the records"
        ) from None
