"""What the tests of sweeps share: a sweep file over the small data set, and what it leaves."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.errors import run_command
from engine.sweep.__main__ import main
from tests.support.data import Files

EXPERIMENT = """
  - id: "1"
    title: Rates
    axes: {optim.lr: [0.05, 0.1], optim.momentum: [0.5, 0.9]}
    reported:
      - {at: {optim.lr: 0.1, optim.momentum: 0.9}, value: 55.5, evidence: log, statistic: best}
"""


class Sweep:
    """A sweep file below `folder` and the command on it."""

    def __init__(self, folder: Path, files: Files, experiments: str = EXPERIMENT) -> None:
        self.folder, self.root = folder, folder / "runs"
        self.path = folder / "few.yaml"
        self.files = files
        self.write(experiments)

    def write(self, experiments: str, epochs: int = 2, name: str = "few") -> Path:
        """The file `name`.yaml with these experiments."""
        head = (
            "title: A few runs\nreport: '999'\nsettings:\n"
            "  model: {blocks: [1, 1], widths: [4]}\n"
            f"  train: {{epochs: {epochs}, batch_size: 16}}\n"
            "experiments:\n"
        )
        path = self.folder / f"{name}.yaml"
        path.write_text(head + experiments.lstrip("\n"))
        return path

    def words(self, *more: str, path: Path | None = None) -> list[str]:
        """The command line."""
        return [
            *("--sweep-file", str(path or self.path), "--run.root", str(self.root)),
            *self.files.flags(),
            *"--runtime.device cpu --runtime.precision fp32 --runtime.threads 1".split(),
            *more,
        ]

    def __call__(self, *more: str, path: Path | None = None) -> int:
        """Run it in this process."""
        return run_command(main, self.words(*more, path=path))

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record by the folder of its run."""
        paths = self.root.glob("*/record.json")
        return {path.parent.name: json.loads(path.read_text()) for path in sorted(paths)}

    def queue(self, name: str = "few") -> Path:
        """Its database."""
        return self.root / "sweeps" / name / "queue.sqlite"

    def asked(self, query: str, name: str = "few") -> list[Any]:
        """What the database answers."""
        with closing(sqlite3.connect(self.queue(name))) as base:
            return base.execute(query).fetchall()

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Inode and time of the weights of all finished runs: another run would change them."""
        found = {}
        for path in self.root.glob("*/weights.safetensors"):
            stat = path.stat()
            found[path.parent.name] = (stat.st_ino, stat.st_mtime_ns)
        return found

    def results(self) -> list[str]:
        """The runs whose result was printed, once for each time that it was."""
        logs = sorted(self.root.glob("sweeps/*/logs/*.log"))
        return [
            log.stem
            for log in logs
            for line in log.read_text().splitlines()
            if "test accuracy" in line
        ]
