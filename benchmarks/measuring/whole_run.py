"""A whole run of `engine.train`, from the start of its process to its record."""

from __future__ import annotations

import contextlib
import json
import math
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring.child import ROOT, SECONDS_TO_STOP, last_error, run_python
from engine import atomic
from engine.errors import RESUMABLE, RunFailed

TIMED = "benchmarks.measuring.timed_train"  # imports the engine, with fastargs
SPLIT = "split.json"  # what that writes
WALLS = "wall_seconds.json"  # of each session of a kept run


class Unfinished(Exception):
    """A kept run whose time was up: the same call continues it."""


def run(
    variant: str,
    train: Path,
    device: str,
    *flags: str,
    seconds: float,
    cache: Path | None = None,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Train `variant` as a user would; figures from its record and log, and the wall time.

    The wall time holds the imports, the reading of the data, compiling, every evaluation and
    every checkpoint. Without `cache` the compile cache is empty at the start. A run in a folder
    below `keep` is stopped at the end of its time, and continued by the next call.
    """
    config = ROOT / "configs" / f"{variant}.yaml"
    network = ["--config-file", str(config)] if config.exists() else ["--model.name", variant]
    with contextlib.ExitStack() as stack:
        root = keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-run-"))
        )
        folder = root / (re.sub(r"[^\w.]+", "-", "".join([variant, *flags])) if keep else "run")
        cache = cache or root / "cache"
        command = [*network, "--quiet", "--data.train", str(train), "--data.test"]
        command += [str(test_set(train)), "--run.root", str(root), "--run.name", folder.name]
        command += ["--runtime.device", device, "--runtime.cache", str(cache), *flags]
        wall = _train(command, folder, cache, seconds, kept=keep is not None)
        record = json.loads((folder / "record.json").read_text())
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return summary(record, log, wall) | {"split": _split(folder, record, wall)}


def _train(command: list[str], folder: Path, cache: Path, seconds: float, *, kept: bool) -> float:
    """Train to the end; the wall time of all sessions."""
    walls = json.loads((folder / WALLS).read_text()) if (folder / WALLS).exists() else []
    if kept and (folder / "weights.safetensors").exists():
        return float(sum(walls))
    began = time.monotonic()
    words = ["-m", TIMED, str(folder / SPLIT), *command]
    limit = max(1.0, seconds - SECONDS_TO_STOP) if kept else seconds
    try:
        done = run_python(*words, cache=cache, seconds=limit, stops=kept)
    except subprocess.TimeoutExpired:
        raise RunFailed("stopped at the end of its time") from None
    walls.append(time.monotonic() - began)
    if kept and folder.is_dir():
        atomic.write_json(folder / WALLS, walls)
    if kept and done.returncode == RESUMABLE:
        raise Unfinished(f"{_epochs(folder)} epochs trained, the next call continues")
    if done.returncode:
        raise RunFailed(f"engine.train ended with {done.returncode}: {last_error(done)}")
    return float(sum(walls))


def _epochs(folder: Path) -> int:
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _split(folder: Path, record: dict[str, Any], wall: float) -> dict[str, float] | None:
    """The seconds of a run by what they were spent on; None where it had several sessions."""
    path = folder / SPLIT
    split: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    if not split or math.ceil(record["epochs"]) != split.pop("epochs"):
        return None
    return {"start and end": wall - sum(split.values()), **split}


def summary(record: dict[str, Any], log: list[dict[str, Any]], wall: float) -> dict[str, Any]:
    """The figures of a finished run; compiling is what its first epoch takes beyond the others."""
    ends = [line["seconds"] for line in log]
    lengths = [after - before for before, after in zip([0.0, *ends], ends, strict=False)]
    usual = statistics.median(lengths[1:] or lengths)
    compiling = max(0.0, lengths[0] - usual)
    return {
        "variant": record["variant"],
        "epochs": record["epochs"],
        "seed": record["config"]["train"]["seed"],
        "batch_size": record["config"]["train"]["batch_size"],
        "precision": record["precision"],
        "test_accuracy": record["test_accuracy"],
        "accuracy_of": "the last epoch, on the test set",
        "wall_seconds": wall,
        "compiling_seconds": compiling,
        "without_compiling_seconds": wall - compiling,
        "usual_epoch_seconds": usual,
        "accuracies": [line.get("test_accuracy") for line in log],
        "seconds": ends,
        "images_per_second": record["images_per_second"],
    }


def test_set(train: Path) -> Path:
    """The test set beside a training set; where there is none, the training set itself."""
    beside = train.with_name(train.name.replace("_train", "_test"))
    return beside if beside.exists() else train
