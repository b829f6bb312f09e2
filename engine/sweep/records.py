"""The records below `run.root`: which runs are finished, by any command and under any name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.runs.directory import FINISHED, RunFolder, read_json

Record = dict[str, Any]


class Records:
    """The records by fingerprint; `refresh` reads again only what has changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broken: dict[Path, str] = {}  # records that cannot be read, and why
        self._read: dict[Path, tuple[tuple[int, int], Record | None]] = {}
        self._known: dict[str, tuple[Path, Record]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at every run's folder."""
        read = {}
        known: dict[str, tuple[Path, Record]] = {}
        for path in sorted(self.root.glob("[!.]*/record.json")):
            try:
                stat = path.stat()
            except OSError:
                continue
            stamp = (stat.st_mtime_ns, stat.st_size)
            before = self._read.get(path)
            read[path] = before if before and before[0] == stamp else (stamp, self._load(path))
            record = read[path][1]
            if record is None:
                continue
            other = known.get(record["fingerprint"])
            if other is None or other[1]["status"] != FINISHED:
                known[record["fingerprint"]] = (path.parent, record)
        self._read, self._known = read, known

    def all(self) -> list[Record]:
        """All that can be read."""
        return [record for _, record in self._known.values()]

    def of(self, fingerprint: str) -> Record | None:
        """The record of a run, the finished one where there are several."""
        return self._known[fingerprint][1] if fingerprint in self._known else None

    def folder(self, fingerprint: str) -> Path | None:
        """The folder of a run."""
        return self._known[fingerprint][0] if fingerprint in self._known else None

    def finished(self, fingerprint: str) -> Record | None:
        """The record of a run that has its result."""
        record = self.of(fingerprint)
        return record if record is not None and record["status"] == FINISHED else None

    def running(self, fingerprint: str) -> bool:
        """Whether a process is training it; its first record comes when its data is open."""
        folder = self.folder(fingerprint)
        return folder is not None and RunFolder(folder).locked()

    def _load(self, path: Path) -> Record | None:
        try:
            record = read_json(path) or {}
            values = (record.get("fingerprint"), record.get("status"))
            if not all(value and isinstance(value, str) for value in values):
                raise UserError(f"{path}: not readable as a record: no fingerprint or no status")
        except (OSError, UserError) as error:
            self.broken[path] = str(error)
            return None
        self.broken.pop(path, None)
        return record
