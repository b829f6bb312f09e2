"""The SQLite file of a queue: opened, checked, kept aside and made anew where it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import UserError

FORMAT = 1  # SQLite's user_version
SECONDS_FOR_A_LOCK = 60.0
COLUMNS = "fingerprint, state, attempts, owner, orphaned, error"

SCHEMA = """
CREATE TABLE runs (
    fingerprint TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,  -- that failed
    owner TEXT NOT NULL DEFAULT '',       -- file in workers/ whose lock its claimer holds
    orphaned INTEGER NOT NULL DEFAULT 0,  -- times its claimer died
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


def opened(path: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """The database; a damaged one is kept beside it and begun anew."""
    base = _connected(path)
    try:
        if base.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages do not fit together")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version == 0 and not base.execute("SELECT name FROM sqlite_master").fetchall():
            base.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT")
        elif version != FORMAT:
            base.close()
            raise UserError(
                f"{path}: a queue of format {version}; this version reads {FORMAT}. Records stay "
                "good without it: move it away to begin a new one"
            )
        base.execute(f"SELECT {COLUMNS} FROM runs LIMIT 1")
    except sqlite3.DatabaseError as error:
        base.close()
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise UserError(f"{path}: cannot be used ({error})") from None
        kept = _set_aside(path)
        warn(f"warning: {path}: damaged ({error}), kept as {kept.name}; made anew from the records")
        return opened(path, warn)
    return base


def _connected(path: Path) -> sqlite3.Connection:
    try:
        # A rollback journal, not WAL: it needs no shared memory, and there is little to write.
        base = sqlite3.connect(path, timeout=SECONDS_FOR_A_LOCK, isolation_level=None)
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be opened ({error})") from None
    return base


def _set_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.bad-{number}")).exists():
        number += 1
    path.rename(kept)
    journal = path.with_name(path.name + "-journal")
    if journal.exists():
        journal.rename(kept.with_name(kept.name + "-journal"))
    return kept


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """A fault of the database, in one line."""
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(f"{path}: {error}; the same command goes on from the records") from None
