"""The records below `run.root`: which runs are finished, by any command and under any name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.runs.directory import FINISHED, RunFolder, read_json

Record = dict[str, Any]

# What a sweep reads of a record: 100,000 whole ones would fill 2 GB.
KEPT = (
    "fingerprint", "status", "error", "epochs", "saved_step", "seconds", "host", "precision",
    "device", "compiled", "image_side", "flops", "images_per_second", "weights_sha256",
    "test_accuracy", "best_test_accuracy", "best_validation_accuracy",
)  # fmt: skip


class Records:
    """The records by fingerprint, each with what a sweep reads of it.

    `look` reads one run's; `refresh` looks at all folders, and reads again what has changed. Of
    configurations that `explore.speed.trained_network` reads alike, one is kept.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broken: dict[Path, str] = {}  # records that cannot be read, and why
        self._read: dict[str, tuple[tuple[int, int], Record | None]] = {}  # by the folder's name
        self._known: dict[str, tuple[str, Record]] = {}  # folder and record, by fingerprint
        self._configs: dict[str, dict[str, Any]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at every run's folder."""
        read: dict[str, tuple[tuple[int, int], Record | None]] = {}
        known: dict[str, tuple[str, Record]] = {}
        for name, path in _folders(self.root):
            now = self._current(name, f"{path}/record.json")
            if now is None:
                continue
            read[name] = now
            if now[1] is not None:
                _add(known, name, now[1])
        self._read, self._known = read, known

    def look(self, folder: Path) -> None:
        """Read the record in `folder`, if it has changed."""
        now = self._current(folder.name, f"{folder}/record.json")
        _, before = self._read.pop(folder.name, ((0, 0), None))
        if before is not None and self._known[before["fingerprint"]][0] == folder.name:
            del self._known[before["fingerprint"]]
        if now is not None:
            self._read[folder.name] = now
            if now[1] is not None:
                _add(self._known, folder.name, now[1])

    def all(self) -> list[Record]:
        """All that can be read."""
        return [record for _, record in list(self._known.values())]

    def of(self, fingerprint: str) -> Record | None:
        """The record of a run, the finished one where there are several."""
        known = self._known.get(fingerprint)
        return known[1] if known else None

    def folder(self, fingerprint: str) -> Path | None:
        """The folder of a run."""
        known = self._known.get(fingerprint)
        return self.root / known[0] if known else None

    def finished(self, fingerprint: str) -> Record | None:
        """The record of a run that has its result."""
        record = self.of(fingerprint)
        return record if record is not None and record["status"] == FINISHED else None

    def running(self, fingerprint: str) -> bool:
        """Whether a process is training it; its first record comes when its data is open."""
        folder = self.folder(fingerprint)
        return folder is not None and RunFolder(folder).locked()

    def _current(self, name: str, path: str) -> tuple[tuple[int, int], Record | None] | None:
        """The record at `path` and when it was written, or None where there is none."""
        try:
            stat = os.stat(path)
        except OSError:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size)
        before = self._read.get(name)
        return before if before and before[0] == stamp else (stamp, self._load(Path(path)))

    def _load(self, path: Path) -> Record | None:
        try:
            record = read_json(path) or {}
            values = (record.get("fingerprint"), record.get("status"))
            if not all(value and isinstance(value, str) for value in values):
                raise UserError(f"{path}: not readable as a record: no fingerprint or no status")
            if record["status"] == FINISHED and not _has_result(record):
                raise UserError(f"{path}: says that it is finished, and has no result")
        except (OSError, UserError) as error:
            self.broken[path] = str(error)
            return None
        self.broken.pop(path, None)
        kept = {key: record[key] for key in KEPT if key in record}
        if isinstance(record.get("flops"), dict):
            kept["flops"] = {"training": record["flops"].get("training")}
        config = record.get("config")
        if isinstance(config, dict):
            kept["config"] = self._configs.setdefault(_network_of(config), config)
        return kept


def _has_result(record: Record) -> bool:
    """Whether a finished record holds what a finished run has written."""
    accuracy, digest = record.get("test_accuracy"), record.get("weights_sha256")
    return (
        isinstance(accuracy, float | int)
        and not isinstance(accuracy, bool)
        and 0 <= accuracy <= 1
        and type(record.get("epochs")) is int
        and isinstance(digest, str)
        and re.fullmatch("[0-9a-f]{64}", digest) is not None
    )


def _network_of(config: dict[str, Any]) -> str:
    """What of a configuration says how fast its network is."""
    parts = [config.get("model")]
    for name, keys in (("train", ("batch_size", "freeze_layers")), ("augment", ("sizes",))):
        section = config.get(name)
        parts += [section.get(key) if isinstance(section, dict) else None for key in keys]
    return json.dumps(parts)


def _folders(root: Path) -> Iterator[tuple[str, str]]:
    """Name and path of each folder, in the order of the names."""
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield name, f"{root}/{name}"


def _add(known: dict[str, tuple[str, Record]], name: str, record: Record) -> None:
    other = known.get(record["fingerprint"])
    if other is None or other[1]["status"] != FINISHED or other[0] == name:
        known[record["fingerprint"]] = (name, record)
