"""The folder of one run: its file names and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

from engine import atomic, files
from engine.errors import UserError, with_path

LOCKED = "already running in another process"
PATIENCE, PAUSE = 30.0, 0.01  # seconds; those who only ask share the lock for an instant
RUNNING, INTERRUPTED, FAILED, FINISHED = "running", "interrupted", "failed", "finished"


class RunFolder:
    """While entered, only this process writes to the folder; the lock is the kernel's."""

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
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise with_path(error, error.filename or self.path) from None
        until = time.monotonic() + PATIENCE
        while not _locks(self._lock, fcntl.LOCK_EX):
            if not _locks(self._lock, fcntl.LOCK_SH) or time.monotonic() > until:
                os.close(self._lock)
                raise UserError(f"{self.path}: {LOCKED}")
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # only those who ask hold it: `is_locked`
            time.sleep(random.uniform(0, PAUSE))
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def locked(self) -> bool:
        """Whether a process is using the folder."""
        return atomic.is_locked(self.path / "lock")

    def clear(self) -> None:
        """Delete everything that the run wrote (`--fresh`); other files stay."""
        written = (self.record, self.weights, self.best_weights, self.log, self.config)
        for path in (*written, self.environment):
            path.unlink(missing_ok=True)
        if self.checkpoints.exists():
            shutil.rmtree(self.checkpoints)

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
        if record.get("status") != FINISHED:
            raise UserError(
                f"{self.path}: this run is {record.get('status')}, not finished; the same command "
                "of engine.train continues it"
            )
        return record

    def truncate_log(self, lines: int) -> None:
        """Keep the first `lines` lines; the epochs after them will be trained again."""
        if self.log.exists():
            kept = files.read_bytes(self.log, files.LARGEST_LOG).splitlines(keepends=True)[:lines]
            atomic.write_bytes(self.log, b"".join(kept))

    def last_log_line(self) -> dict[str, Any]:
        """The line of the last epoch."""
        last: dict[str, Any] = json.loads(
            files.read_bytes(self.log, files.LARGEST_LOG).splitlines()[-1]
        )
        return last


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
    return content
