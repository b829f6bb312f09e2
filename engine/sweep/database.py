"""The SQLite file of a queue: opened and checked; a damaged one is kept and begun anew.

That loses nothing: what is done is known from the records. Attempts that failed are counted anew.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import UserError

FORMAT = 2  # SQLite's user_version
SECONDS_FOR_A_LOCK = 60.0
OTHER_TABLES = re.compile("no such|duplicate column|already exists")  # in SQLite's messages
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
    base.text_factory = readable
    try:
        if base.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages or indexes do not fit together")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        schema = _schema(base)
        if version == 0 and not schema:
            base.executescript(f"BEGIN; {FIRST} {SECOND} PRAGMA user_version = {FORMAT}; COMMIT")
        elif version == 1 and schema != _expected():
            base.executescript(f"BEGIN; {SECOND} PRAGMA user_version = {FORMAT}; COMMIT")
        elif version > FORMAT:
            base.close()
            raise UserError(
                f"{path}: a queue of format {version}; this version reads 1 and {FORMAT}. The "
                "records do not depend on it: move it away to begin a new one"
            )
        if _schema(base) != _expected():
            raise sqlite3.DatabaseError("its tables are not those of a queue")
    except sqlite3.DatabaseError as error:
        base.close()
        if isinstance(error, sqlite3.OperationalError) and not OTHER_TABLES.search(str(error)):
            raise UserError(f"{path}: cannot be used ({error})") from None
        kept = _keep_aside(path)
        warn(
            f"warning: {path}: damaged ({error}), kept as {kept.name}; "
            "a new one is made from the records"
        )
        return open_database(path, warn)
    return base


def one_row(cursor: sqlite3.Cursor, rows: int = 1) -> None:
    """Raise if a change did not find the `rows` that were just read: an index is damaged."""
    if cursor.rowcount != rows:
        raise sqlite3.DatabaseError(f"damaged ({cursor.rowcount} rows changed instead of {rows})")


def readable(content: bytes) -> str:
    """Text of a database, which may be damaged: then it is no state, owner or fingerprint."""
    return content.decode(errors="replace")


def _schema(base: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Its tables, indexes and whatever else it has, and the columns of its tables."""
    parts = base.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
    for kind, name, _ in list(parts):
        if kind == "table":
            query = "SELECT ?1, name, type, pk FROM pragma_table_info(?1)"
            parts += base.execute(query, (name,)).fetchall()
    return sorted(parts, key=str)


@functools.cache
def _expected() -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as base:
        base.executescript(f"{FIRST} {SECOND}")
        return _schema(base)


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
