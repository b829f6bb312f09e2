"""Short training runs and what they write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.runs import checkpoint
from engine.runs.directory import OWN_DIGEST, RunFolder
from tests.support.data import Files

NET = "--model.blocks 1,1 --model.widths 4 --runtime.device cpu --runtime.threads 1".split()
SHORT = [*NET, "--runtime.precision", "fp32", "--train.epochs", "2", "--train.batch_size", "16"]

EXACT = (
    "--runtime.exact --runtime.device cpu --runtime.precision fp32 --model.blocks 1,1 "
    "--model.widths 8 --model.se stem --model.se_reduction 2 --model.dropout 0.2 "
    "--train.seed 5 --run.name run"
).split()

Command = Callable[..., int]
Call = Callable[..., tuple[int, str, str]]


def run_of(tmp_path: Path) -> RunFolder:
    """The folder of the one run below `tmp_path`."""
    (path,) = (tmp_path / "runs").glob("[!.]*")  # and not the folder of compiled code
    return RunFolder(path)


def record_of(tmp_path: Path) -> dict[str, Any]:
    """The record of the one run below `tmp_path`, without its own digest: it may be rewritten."""
    record = run_of(tmp_path).read_record()
    assert record is not None
    del record[OWN_DIGEST]
    return record


def exact_flags(files: Files, root: Path, epochs: float, batch: int) -> list[str]:
    """The flags of a run below `root` that gives the same bits every time."""
    length = ["--train.epochs", f"{epochs:g}", "--train.batch_size", str(batch)]
    return [*EXACT, *files.flags(), *length, "--run.root", str(root)]


def outcome(root: Path) -> dict[str, Any]:
    """Everything that the run `run` below `root` wrote, except times."""
    run = RunFolder(root / "run")
    record = run.read_record()
    assert record is not None
    del record[OWN_DIGEST]
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    for content in (record, *lines):
        del content["seconds"], content["images_per_second"]
    record["config"]["run"] = None
    last = checkpoint.newest_valid(run.checkpoints, lambda line: None, record["fingerprint"])
    assert last is not None
    state = checkpoint.pack(last.tensors)
    content = {"record": record, "log": lines, "weights": run.weights.read_bytes(), "state": state}
    if run.best_weights.exists():
        content["best_weights"] = run.best_weights.read_bytes()
    return content
