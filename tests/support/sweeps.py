"""Sweeps over the small data set: the file, the command, and what it writes."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

from engine.config.schema import Config, Train
from engine.errors import run_command
from engine.sweep.__main__ import main
from engine.sweep.planned import PlannedRun
from engine.sweep.reported import ReportedValue
from tests.support.data import Files

EXPERIMENT = """
  - id: "1"
    title: Rates
    axes: {optim.lr: [0.05, 0.1], optim.momentum: [0.5, 0.9]}
    reported:
      - {at: {optim.lr: 0.1, optim.momentum: 0.9}, value: 55.5, evidence: log, statistic: best}
"""


class Sweep:
    """A sweep file in `folder` and the command on it."""

    def __init__(self, folder: Path, files: Files, experiments: str = EXPERIMENT) -> None:
        self.folder, self.root = folder, folder / "runs"
        self.path = folder / "few.yaml"
        self.files = files
        self.write(experiments)

    def write(self, experiments: str, epochs: float = 2, name: str = "few") -> Path:
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

    def arguments(self, *more: str, path: Path | None = None) -> list[str]:
        """The command line."""
        return [
            *("--sweep-file", str(path or self.path), "--run.root", str(self.root)),
            *self.files.flags(),
            *"--runtime.device cpu --runtime.precision fp32 --runtime.threads 1".split(),
            *more,
        ]

    def __call__(self, *more: str, path: Path | None = None) -> int:
        """Run it in this process."""
        return run_command(main, self.arguments(*more, path=path))

    def plan(self, *more: str) -> dict[str, Any]:
        """What `--dry-run --json` prints."""
        with redirect_stdout(io.StringIO()) as output:
            assert self("--dry-run", "--json", *more) == 0
        content: dict[str, Any] = json.loads(output.getvalue())
        return content

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record by the folder of its run."""
        paths = self.root.glob("*/record.json")
        return {path.parent.name: json.loads(path.read_text()) for path in sorted(paths)}

    def queue(self, name: str = "few") -> Path:
        """Its database."""
        return self.root / "sweeps" / name / "queue.sqlite"

    def query(self, statement: str, name: str = "few") -> list[Any]:
        """The rows of a statement on the database."""
        with closing(sqlite3.connect(self.queue(name))) as base:
            return base.execute(statement).fetchall()

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Inode and time of the weights of all finished runs: training again would change them."""
        stats = {path.parent.name: path.stat() for path in self.root.glob("*/weights.safetensors")}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}

    def printed(self) -> list[str]:
        """The runs whose result is in their logs, once per time that it was printed."""
        logs = sorted(self.root.glob("sweeps/*/logs/*.log"))
        return [
            log.stem
            for log in logs
            for line in log.read_text().splitlines()
            if "test accuracy" in line
        ]


def planned_run(name: str, seed: int = 0, **changes: Any) -> PlannedRun:
    """A run that needs no data: point `name`, with the network of report 004."""
    values: dict[str, Any] = {
        "name": f"{name}/s{seed}", "point": name, "report": "004", "experiment": "4.5",
        "title": "Final", "recipe": "T4", "why": "", "variant": "resnet453", "params": 4_992_586,
        "petaflops": 2.0, "seed": seed, "config": Config(train=Train(epochs=200, seed=seed)),
        "differs": {}, "fingerprint": f"{name}-{seed}", "folder": f"resnet453-s{seed}",
        "reported": (ReportedValue(95.66, "report", "best", "epoch 189"),), "notes": (),
        "epochs_unscaled": 200,
    }  # fmt: skip
    return PlannedRun(**values | changes)
