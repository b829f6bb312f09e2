"""The folder of one run: its file names and its lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from engine import atomic, files, seal
from engine.errors import UserError, with_path

LOCK = "lock"
LOCKED = "already running in another process"
PATIENCE, PAUSE = 30.0, 0.01  # seconds; those who only ask share the lock for an instant
RUNNING, INTERRUPTED, FAILED, FINISHED = "running", "interrupted", "failed", "finished"
OWN_DIGEST = "record_sha256"  # of everything else in the record


class LockLost(UserError):
    """The lock file of a run was deleted or replaced: another process may write its folder."""


class RunFolder:
    """While entered, only this process writes to the folder; the lock is the kernel's.

    A process that writes asks `keep` before, as the lock's file may have been deleted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.environment = path / "environment.json"
        self.log = path / "log.jsonl"
        self.record = path / "record.json"
        self.weights = path / "weights.safetensors"
        self.best_weights = path / "best_weights.safetensors"
        self.checkpoints = path / "checkpoints"
        self._lock: int | None = None

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked_file()
            while not self._is_ours():  # deleted between our opening it and our lock
                os.close(self._lock)
                self._lock = self._locked_file()
        except OSError as error:
            raise with_path(error, error.filename or self.path) from None
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def keep(self) -> None:
        """Raise `LockLost` if another process may have taken the folder since it was entered."""
        if not self._is_ours():
            raise LockLost(
                f"{self.path / LOCK}: deleted or replaced while this run was using it; it stopped, "
                "as another process may be writing here. If none is, the same command continues "
                "from the newest checkpoint"
            )

    def locked(self) -> bool:
        """Whether a process is using the folder."""
        return atomic.is_locked(self.path / LOCK)

    def from_here(self, path: str, root: str) -> Path:
        """A relative path of the run's settings, also in another folder than where it was trained.

        That is the folder to which `root`, its `run.root`, was relative.
        """
        parts, above = Path(os.path.normpath(root)).parts, self.path.resolve().parent.parts
        start = len(above) - len(parts)
        if Path(path).exists() or above[start:] != parts:
            return Path(path)
        return Path(*above[:start], path)

    def clear(self) -> None:
        """Delete everything that the run wrote (`--fresh`); other files stay.

        The newest checkpoint goes before all that is not one: killed earlier, the run can still be
        continued, and later it cannot be taken for the new one.
        """
        for path in files.listed(self.checkpoints):
            if path.name.startswith("step-"):
                path.unlink()
        with contextlib.suppress(OSError):  # not there, a link, or others' files are in it
            self.checkpoints.rmdir()
        written = (self.record, self.weights, self.best_weights, self.log, self.config)
        for path in (*written, self.environment):
            path.unlink(missing_ok=True)

    def read_record(self) -> dict[str, Any] | None:
        """The record as last written, or None before the first."""
        return read_json(self.record)

    def finished_record(self) -> dict[str, Any]:
        """The record of a finished run; a folder without one is refused."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such run; training prints the folder of its run")
        record = self.read_record()
        if record is None:
            raise UserError(f"{self.record}: no such file; expected the folder of a run")
        status = record.get("status")
        if status != FINISHED:
            if status == RUNNING and not self.locked():
                status = INTERRUPTED  # it was killed
            raise UserError(
                f"{self.path}: this run is {status}, not finished; the same command of "
                "engine.train continues it"
            )
        return record

    def log_lines(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        text = files.read_text(self.log, files.LARGEST_LOG)
        return [json.loads(line) for line in text.splitlines()]

    def _locked_file(self) -> int:
        """The lock's file, opened and locked; refused where another process holds it."""
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        until = time.monotonic() + PATIENCE
        while not _locks(lock, fcntl.LOCK_EX):
            if not _locks(lock, fcntl.LOCK_SH) or time.monotonic() > until:
                os.close(lock)
                raise UserError(f"{self.path}: {LOCKED}")
            fcntl.flock(lock, fcntl.LOCK_UN)  # only those who ask hold it: `is_locked`
            time.sleep(random.uniform(0, PAUSE))
        return lock

    def _is_ours(self) -> bool:
        """Whether the file that is locked is still the one that others would open."""
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.stat(self.path / LOCK), os.fstat(self._lock))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):  # the latter on a network file system
                return False
            raise


def _locks(descriptor: int, kind: int) -> bool:
    """Take the lock if that needs no waiting."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a run's folder; None where there is none; a broken one is an error."""
    try:
        content = json.loads(files.read_text(path))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object")
    try:
        changed = seal.is_broken(content, OWN_DIGEST)
    except RecursionError:
        changed = True
    if changed:
        raise UserError(
            f"{path}: changed or damaged (its own digest does not match); remove it, and the same "
            "command of engine.train writes it again"
        )
    return content
