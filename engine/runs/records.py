"""`record.json`: a run's conditions and results, written from its start on."""

from __future__ import annotations

import platform
import statistics
from pathlib import Path
from typing import Any

from engine.config.schema import Config, as_dict
from engine.data.sets import DataSets
from engine.errors import UserError
from engine.runs import environment
from engine.runs.counters import Counters
from engine.runs.initial_weights import InitialWeights
from engine.runs.work import Work
from engine.step.device import Machine

FORMAT = 1


def begin(
    config: Config,
    identity: str,
    design: dict[str, Any],
    sets: DataSets,
    machine: Machine,
    weights: InitialWeights | None,
    ranks: int = 1,
) -> dict[str, Any]:
    """The record of a run without results yet."""
    return {
        "format": FORMAT,
        "status": "running",
        "variant": design["variant"],
        "params": design["parameters"]["total"],
        "flops": design["flops"],
        "config": as_dict(config),
        "fingerprint": identity,
        "seed": config.train.seed,
        "data_digests": sets.digests,
        "classes": list(sets.classes),
        "image_side": sets.side,
        "mean": list(sets.mean),
        "std": list(sets.std),
        "train_images": sets.train.samples_of_all,
        "validation_images": sets.watched.samples_of_all if sets.validated else 0,
        "test_images": sets.test.samples_of_all,
        "data_memory_bytes": sets.memory_bytes,
        "versions": environment.versions(),
        "host": platform.node(),
        "device": machine.name(),
        "precision": machine.precision,
        "compiled": machine.compile,
        "epochs": 0,
        "steps": 0,
        "training_flops": 0,
        "seconds": 0.0,
        "images_per_second": None,
        "test_accuracy": None,
        "test_loss": None,
        "train_accuracy": None,
        "train_loss": None,
        # The best of all epochs, so never the result; one of the two sets is evaluated.
        "best_test_accuracy": None,
        "best_test_epoch": None,
        "best_validation_accuracy": None,
        "best_validation_epoch": None,
        "saved_step": None,
        **({} if weights is None else {"initial_weights": weights.origin()}),
        **({} if ranks == 1 else {"ranks": ranks}),
    }


def updated(record: dict[str, Any], status: str, counters: Counters, work: Work) -> dict[str, Any]:
    """The record with the run's current `status` and `counters`, and their part of its `work`."""
    kind = "validation" if record["validation_images"] else "test"
    # The first epoch includes warm-up and compilation: it counts only if there is no other.
    speeds = counters.speeds[1:] or counters.speeds
    return record | {
        "status": status,
        "epochs": counters.epoch,
        "steps": counters.step,
        "training_flops": work.until(counters.step),
        "seconds": round(counters.seconds, 3),
        "images_per_second": round(statistics.median(speeds), 1) if speeds else None,
        f"best_{kind}_accuracy": counters.best_accuracy,
        f"best_{kind}_epoch": counters.best_epoch,
        "sample_trace": counters.trace,
    }


def refuse_another(record: dict[str, Any], folder: Path, new: dict[str, Any]) -> None:
    """Raise where the folder holds the record of a run of other settings, weights or data."""
    if record.get("fingerprint") == new["fingerprint"]:
        return
    before, defaults = record.get("config", {}), as_dict(Config())
    there = {name: defaults[name] | before.get(name, {}) for name in defaults}
    differing = [
        f"{section}.{key} ({there[section].get(key)!r} there, {value!r} here)"
        for section, values in new["config"].items()
        for key, value in values.items()
        if section not in ("run", "checkpoint") and there[section].get(key) != value
    ]
    digests = [each.get("initial_weights", {}).get("sha256") for each in (record, new)]
    if all(digests) and digests[0] != digests[1]:
        differing.insert(0, "the bytes of model.weights")
    what = ", ".join(differing[:5]) or "the data"
    raise UserError(
        f"{folder}: holds another run, which differs in {what}; choose another run.name, or "
        "delete it with: --fresh"
    )
