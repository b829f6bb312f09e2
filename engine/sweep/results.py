"""The records below `run.root`: which runs are finished, whoever made them and under what name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.runs.directory import FINISHED, RunFolder

Record = dict[str, Any]


class Results:
    """The records by fingerprint; `refresh` reads again only what has changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broken: dict[Path, str] = {}  # records that do not read, and why
        self._read: dict[Path, tuple[tuple[int, int], Record | None]] = {}
        self._known: dict[str, tuple[Path, Record]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at every run's folder."""
        try:
            folders = sorted(path for path in self.root.iterdir() if path.name[0] != ".")
        except OSError:
            folders = []
        read = {}
        for folder in folders:
            path = folder / "record.json"
            try:
                stat = path.stat()
            except OSError:
                continue
            stamp = (stat.st_mtime_ns, stat.st_size)
            before = self._read.get(path)
            read[path] = before if before and before[0] == stamp else (stamp, self._load(path))
        self._read = read
        known: dict[str, tuple[Path, Record]] = {}
        for path, (_, record) in read.items():
            if record is None:
                continue
            other = known.get(record["fingerprint"])
            if other is None or other[1]["status"] != FINISHED:
                known[record["fingerprint"]] = (path.parent, record)
        self._known = known

    def records(self) -> list[Record]:
        """All that read well."""
        return [record for _, record in self._known.values()]

    def of(self, fingerprint: str) -> Record | None:
        """The record of a run, the finished one where there are several."""
        found = self._known.get(fingerprint)
        return None if found is None else found[1]

    def folder(self, fingerprint: str) -> Path | None:
        """Where a run lies."""
        found = self._known.get(fingerprint)
        return None if found is None else found[0]

    def finished(self, fingerprint: str) -> Record | None:
        """The record of a run that has its result."""
        record = self.of(fingerprint)
        return record if record is not None and record["status"] == FINISHED else None

    def running(self, fingerprint: str) -> bool:
        """Whether a process is at it; its first record comes when its data is open."""
        folder = self.folder(fingerprint)
        return folder is not None and RunFolder(folder).locked()

    def _load(self, path: Path) -> Record | None:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if not (isinstance(record["fingerprint"], str) and isinstance(record["status"], str)):
                raise TypeError("fingerprint and status are no texts")
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            self.broken[path] = f"not readable as a record ({error!r})"
            return None
        self.broken.pop(path, None)
        return dict(record)
