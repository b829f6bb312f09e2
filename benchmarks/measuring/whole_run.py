"""A whole run of `engine.train`, from the start of its process to its record."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring.child import ROOT, last_error, run_python
from engine.errors import RunFailed


def run(
    variant: str,
    train: Path,
    device: str,
    *flags: str,
    seconds: float,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train `variant` as a user would; figures from its record and log, and the wall time.

    The wall time holds the imports, the reading of the data, compiling, every evaluation and
    every checkpoint. Without `cache` the compile cache is empty at the start.
    """
    config = ROOT / "configs" / f"{variant}.yaml"
    network = ["--config-file", str(config)] if config.exists() else ["--model.name", variant]
    with tempfile.TemporaryDirectory(prefix="benchmark-run-") as folder:
        cache = cache or Path(folder) / "cache"
        command = ["-m", "engine.train", *network, "--quiet"]
        command += ["--data.train", str(train), "--data.test", str(test_set(train))]
        command += ["--run.root", folder, "--run.name", "run", "--runtime.device", device]
        command += ["--runtime.cache", str(cache), *flags]
        began = time.monotonic()
        try:
            done = run_python(*command, cache=cache, seconds=seconds)
        except subprocess.TimeoutExpired:
            raise RunFailed("stopped at the end of its time") from None
        wall = time.monotonic() - began
        if done.returncode:
            raise RunFailed(f"engine.train ended with {done.returncode}: {last_error(done)}")
        record = json.loads((Path(folder) / "run" / "record.json").read_text())
        log = (Path(folder) / "run" / "log.jsonl").read_text().splitlines()
    return summary(record, [json.loads(line) for line in log], wall)


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
