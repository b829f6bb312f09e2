"""Runs of the engine in processes of their own, as a user starts them."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring.child import ROOT, run_python
from benchmarks.measuring.command import check
from benchmarks.measuring.whole_run import test_set
from benchmarks.step.goals import JUDGED, QUICKSTART
from engine.parser import Parser

LINES = 80  # of a failed run's output: a traceback of torch is long
PATIENCE = 6.0  # times the usual limit, where it must be quick: on a machine that may be busy
QUICK = "--train.batch_size 8 --runtime.threads 1 --runtime.precision fp32".split()


@dataclass(frozen=True)
class Engine:
    """What all runs of a part share."""

    data: Path
    device: str
    root: Path  # of the runs
    cache: Path  # of compiled code
    quick: bool  # a small network in small batches

    @property
    def network(self) -> str:
        """The network of five million parameters; a small one where it must be quick."""
        return QUICKSTART if self.quick else JUDGED

    @property
    def patience(self) -> float:
        """Times the usual limits."""
        return PATIENCE if self.quick else 1.0

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / name

    def command(self, name: str, *flags: str) -> list[str]:
        """The arguments of a run called `name`."""
        config = ROOT / "configs" / f"{self.network}.yaml"
        network = ["--config-file", str(config)] if config.exists() else []
        words = ["-m", "engine.train", *(network or ["--model.name", self.network])]
        words += ["--data.train", str(self.data), "--data.test", str(test_set(self.data))]
        words += ["--run.root", str(self.root), "--run.name", name, "--runtime.device", self.device]
        words += ["--runtime.cache", str(self.cache), *(QUICK if self.quick else [])]
        return [*words, *flags]

    def train(self, name: str, *flags: str, seconds: float) -> Outcome:
        """Train to the end, or to a failure."""
        began, seconds = time.monotonic(), seconds * self.patience
        try:
            done = run_python(*self.command(name, *flags), cache=self.cache, seconds=seconds)
        except subprocess.TimeoutExpired:
            return Outcome(None, time.monotonic() - began, [f"stopped after {seconds:.0f} s"])
        lines = (done.stdout + done.stderr).splitlines()[-LINES:]
        return Outcome(done.returncode, time.monotonic() - began, lines)

    def record(self, name: str) -> dict[str, Any]:
        """The record of a run."""
        content: dict[str, Any] = json.loads((self.folder(name) / "record.json").read_text())
        return content

    def log(self, name: str) -> list[dict[str, Any]]:
        """The lines of a run's log, one per epoch so far."""
        path = self.folder(name) / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code (None: it was stopped), and the end of its output."""

    code: int | None
    seconds: float
    lines: list[str] = field(default_factory=list)


def parser_of(program: str, about: str | None) -> Parser:
    """The flags that the parts of this package share with the other benchmarks."""
    parser = Parser(program, about)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="X.beton", help="the training set")
    add("--device", default="cuda", metavar="cpu|cuda", help="where to train (default cuda)")
    add("--cache", type=Path, metavar="FOLDER", help="keep compiled code (default: it is not kept)")
    add("--quick", action="store_true", help="a small network, small batches: to try the command")
    add("--json", type=Path, metavar="FILE", help="write all results to FILE as they come")
    return parser


def checked(parser: Parser, argv: Any) -> argparse.Namespace:
    """The arguments, with a device that is there."""
    args = parser.parse_args(argv)
    check(args)
    return args
