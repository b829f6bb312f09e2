"""Whole runs: `engine.train` from its start to its record, and the reports' own loop.

Ours is a process as a user starts it, with nothing compiled beforehand: its wall time holds the
imports, the reading of the data, compiling, every evaluation and every checkpoint. Of the reports'
loop a few epochs are measured; the whole is those scaled, and says so.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.loader.peers import Unavailable
from benchmarks.loader.processes import ROOT
from benchmarks.step.against_peers import Bench
from benchmarks.step.startup_child import CACHES
from engine.errors import RunFailed

NETWORK = "resnet453"
EPOCHS, QUICK_EPOCHS = 200, 3
REPORTS_EPOCHS = 3  # of their loop; the first, in which cuDNN chooses, is left out of the scaling
AT_MOST = 460.0  # seconds of a whole run


def whole(bench: Bench) -> None:
    """200 epochs with an evaluation each; and a few epochs of the reports' loop, scaled."""
    epochs = QUICK_EPOCHS if bench.quick else EPOCHS
    variant = NETWORK if NETWORK in bench.variants else bench.variants[0]
    with bench.found.missing_if_it_fails("whole_seconds"):
        bench.say(f"  {variant}: {epochs} epochs in a process of its own")
        flags = ["--train.epochs", str(epochs), "--train.batch_size", str(bench.batch_size)]
        found = run(variant, bench.path, bench.device, *flags)
        bench.found.details["whole_run"] = found
        bench.found.figure("whole_seconds", found["wall_seconds"])
        bench.found.figure("whole_seconds_without_compiling", found["without_compiling_seconds"])
        bench.found.figure("whole_test_accuracy", found["test_accuracy"])
    with bench.found.missing_if_it_fails("reports_loop_seconds_scaled"):
        count = 2 if bench.quick else REPORTS_EPOCHS
        bench.say(f"  the reports' loop: {count} epochs")
        times = _reports(bench, variant, count)
        usual = statistics.median(times[1:])
        bench.found.details["reports_loop"] = {
            "variant": variant,
            "epoch_seconds": times,
            "scaled": f"{epochs} times {usual:.2f} s, the median of all epochs but the first",
        }
        bench.found.figure("reports_loop_seconds_scaled", usual * epochs)
        if "whole_seconds" in bench.found.figures:
            ratio = usual * epochs / bench.found.figures["whole_seconds"]
            bench.found.figure("whole_ratio_vs_reports_loop_scaled", ratio)


def run(
    variant: str,
    train: Path,
    device: str,
    *flags: str,
    seconds: float = AT_MOST,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train `variant` as a user would; what its record and its log say, and the wall time.

    Without a `cache` nothing is compiled beforehand.
    """
    config = ROOT / "configs" / f"{variant}.yaml"
    named = ["--config-file", str(config)] if config.exists() else ["--model.name", variant]
    with tempfile.TemporaryDirectory(prefix="step-benchmark-run-") as folder:
        kept = Path(folder) / "cache" if cache is None else cache
        environment = dict(os.environ)
        environment |= {variable: str(kept / name) for variable, name in CACHES.items()}
        command = [sys.executable, "-m", "engine.train", *named, "--quiet"]
        command += ["--data.train", str(train), "--data.test", str(test_set(train))]
        command += ["--run.root", folder, "--run.name", "it", "--runtime.device", device]
        command += ["--runtime.cache", str(kept), *flags]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
            timeout=seconds,
        )  # fmt: skip
        passed = time.monotonic() - began
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise RunFailed(f"engine.train ended with {done.returncode}: {said}")
        record = json.loads((Path(folder) / "it" / "record.json").read_text())
        log = (Path(folder) / "it" / "log.jsonl").read_text().splitlines()
    return summary(record, [json.loads(line) for line in log], passed)


def summary(record: dict[str, Any], log: list[dict[str, Any]], passed: float) -> dict[str, Any]:
    """What a finished run came to; what its first epoch took beyond the others is compiling."""
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
        "wall_seconds": passed,
        "compiling_seconds": compiling,
        "without_compiling_seconds": passed - compiling,
        "usual_epoch_seconds": usual,
        "accuracies": [line.get("test_accuracy") for line in log],
        "seconds": ends,
        "images_per_second": record["images_per_second"],
    }


def test_set(train: Path) -> Path:
    """The test set that lies beside a training set; where there is none, that one again."""
    beside = train.with_name(train.name.replace("_train", "_test"))
    return beside if beside.exists() else train


def _reports(bench: Bench, variant: str, count: int) -> list[float]:
    try:
        from benchmarks.step.peers import reports_loop
    except ImportError as error:
        raise Unavailable(f"the reports' loop: {error}") from None
    return reports_loop.epochs(bench.task(variant), count)
