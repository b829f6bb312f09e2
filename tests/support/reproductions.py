"""All runs of the five reports as if they had been trained, with exactly the reported values."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import random
import statistics
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records.conditions import setting_key
from benchmarks.records.epochs import Epochs
from benchmarks.records.plans import PlanEntry, SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report.measured import measured_value
from engine.config.fingerprint import fingerprint
from engine.config.schema import as_dict
from engine.sweep.arguments import read
from engine.sweep.plan import Plan
from engine.sweep.planned import PlannedRun
from engine.sweep.reported import ACCURACIES, LOSSES, PARAMETERS, ReportedValue
from tests.support.paths import ROOT
from tests.support.records import record, write_run

DATA = {"train": "a" * 64, "test": "b" * 64}
Wanted = dict[tuple[Any, ...], float]  # what of a run has which value, as a share or a loss


@functools.cache
def plan() -> Plan:
    """The plan of all reports, with fingerprints as if CIFAR-10 were there."""
    argv = ["--sweep-file", str(ROOT / "configs" / "sweeps" / "reports.yaml"), "--dry-run"]
    argv += ["--data.train", "no/cifar10_train.beton", "--data.test", "no/cifar10_test.beton"]
    known = read(argv).plan
    runs = []
    for run in known.runs:
        digests = DATA | ({"weights": run.weights} if run.weights else {})
        runs.append(dataclasses.replace(run, fingerprint=fingerprint(run.config, digests)))
    return dataclasses.replace(known, runs=tuple(runs))


def reproduce(root: Path) -> None:
    """Write the plan, and every run of it of which a value is reported, with that value."""
    folder = root / "sweeps" / "reports"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan().content()))
    shared: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in plan().runs:
        shared[run.fingerprint].append(run)
    for number, runs in enumerate(shared.values()):
        if not any(run.reported for run in runs):
            continue
        content, lines = _finished(runs)
        write_run(root, f"run{number}", content, lines)


def _finished(runs: Sequence[PlannedRun]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record and the log of a run that several experiments may share."""
    run = runs[0]
    epochs, validated = run.config.train.epochs, run.config.data.validation > 0
    wanted = _wanted([value for each in runs for value in each.reported])
    watched = "validation" if validated else "test"
    lines: list[dict[str, Any]] = [{"epoch": epoch} for epoch in range(1, epochs + 1)]
    for measure in (f"{watched}_accuracy", f"{watched}_loss", "train_accuracy", "train_loss"):
        for line, value in zip(lines, _curve(measure, epochs, wanted), strict=True):
            line[measure] = value
    last = lines[-1]
    final = {key: value for key, value in last.items() if key != "epoch"}
    best = max(line[f"{watched}_accuracy"] for line in lines)
    content = record(run.variant, run.seed, epochs=epochs) | {
        "config": as_dict(run.config),
        "fingerprint": run.fingerprint,
        "params": run.params,
        "validation_images": 1_000 if validated else 0,
        "best_test_accuracy": None,
        "test_accuracy": wanted.get(("test_accuracy", "last", None), 0.9),
        **final,
        f"best_{watched}_accuracy": best,
    }
    if validated:
        test = {key: wanted.get((key, "kept")) for key in ("test_accuracy", "test_loss")}
        content["best_weights"] = {"epoch": 1, "validation_accuracy": best, **test}
    return content, lines


def _wanted(reported: Sequence[ReportedValue]) -> Wanted:
    """Of values that contradict each other the median of the most exact ones.

    The best of a panel counts only where nothing else does.
    """
    values: dict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)
    for each in sorted(reported, key=lambda value: bool(value.best_over)):
        if each.run != "planned" or each.measure == PARAMETERS:
            continue
        value = each.value / 100 if each.measure in ACCURACIES else each.value
        key: tuple[Any, ...] = each.measure, "kept"
        if each.selection == "none":
            statistic = "last" if each.statistic == "unknown" else each.statistic
            key = each.measure, statistic, each.epoch or each.until
            if statistic == "last" and each.until:
                key = each.measure, "at", each.until
        if not (each.best_over and key in values):
            values[key].append((each.precision or 0.0, value))
    return {
        key: statistics.median(value for precision, value in each if precision == min(each)[0])
        for key, each in values.items()
    }


def _curve(measure: str, epochs: int, wanted: Mapping[tuple[Any, ...], float]) -> list[float]:
    """A value per epoch: flat and worse than all that is wanted, which stands at its epochs."""
    own = {key[1:]: value for key, value in wanted.items() if key[0] == measure}
    worse = max if measure in LOSSES else min
    usual = 0.4 if measure in LOSSES else 0.9
    last = own.get(("last", None), worse(own.values(), default=usual))
    curve = [worse([last, *own.values()])] * epochs
    if ("moving", None) in own:
        curve[-50:-25] = [own["moving", None]] * 25
    for (statistic, epoch), value in own.items():
        if statistic == "best":
            curve[(epoch or epochs) - 6] = value
        elif statistic == "at":
            curve[epoch - 1] = value
    curve[-1] = last
    return curve


def drawn(
    truth: Sequence[RunRecord], plans: SweepPlans, draw: random.Random
) -> tuple[list[RunRecord], SweepPlans]:
    """The runs with noise, and plans whose reported values are of other such runs.

    Only of planned runs of which a value is reported; a reported value is off by its precision.
    """
    entries = [
        (entry, [each for each in entry.reported if each.run == "planned"])
        for entry in plans.entries
        if any(each.measure != PARAMETERS for each in entry.reported)
    ]
    by_fingerprint = {run["fingerprint"]: run for run in truth}
    values: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for entry, reported in entries:
        run = noisy(by_fingerprint[entry.fingerprint], draw)
        for each in reported:
            values[_identity(entry, each)].append(measured_value(run, each))
    stated = {}
    for identity, known in values.items():
        each: ReportedValue = identity[-1]
        best = min if each.measure in LOSSES else max
        off = 0.2 if each.estimator == "running_mean" else 0.0
        off += each.precision if each.read == "figure" and each.precision else 0.0
        value = best(known) if each.best_over else known[0]
        stated[identity] = round(value + off * draw.uniform(-1, 1), 4)
    theirs = [
        dataclasses.replace(
            entry,
            reported=tuple(
                dataclasses.replace(each, value=stated[_identity(entry, each)]) for each in reported
            ),
        )
        for entry, reported in entries
    ]
    ours = {entry.fingerprint for entry, _ in entries}
    runs = [noisy(by_fingerprint[fingerprint], draw) for fingerprint in sorted(ours)]
    return runs, dataclasses.replace(plans, entries=theirs)


def _identity(entry: PlanEntry, value: ReportedValue) -> tuple[Any, ...]:
    return entry.experiment, "" if value.best_over else entry.label, value


def noisy(run: RunRecord, draw: random.Random) -> RunRecord:
    """The run with the noise of another seed in all of it, and noise of its own in each epoch."""
    jumps = (0.0, 0.5, 2.0)[zlib.crc32(setting_key(run).encode()) % 3]  # if lr stays high
    spreads = {}
    for kind, images in (("test", 10_000), ("validation", 1_000), ("train", 50_000)):
        share = run["test_accuracy" if kind == "test" else "train_accuracy"]
        if kind == "validation":
            share = run["best_validation_accuracy"] or 0.9
        spreads[f"{kind}_accuracy"] = math.sqrt(share * (1 - share) / images)
        loss = 0.4 if kind == "validation" else run[f"{kind}_loss"]
        spreads[f"{kind}_loss"] = 3 * loss / math.sqrt(images)
    shifts = {key: draw.gauss(0, spread) for key, spread in spreads.items()}
    return moved(run, shifts, lambda key: draw.gauss(0, jumps * spreads[key]) if jumps else 0.0)


def moved(
    run: RunRecord, shifts: Mapping[str, float], jump: Callable[[str], float] = lambda key: 0.0
) -> RunRecord:
    """The run with measures moved by `shifts`, and by a `jump` in each epoch."""
    epochs = Epochs()
    for number, *values in zip(run.epochs.numbers, *map(run.epochs.column, shifts), strict=True):
        pairs = zip(shifts.items(), values, strict=True)
        epochs.add(number, {key: value + shift + jump(key) for (key, shift), value in pairs})
    last, values_of = epochs[-1], dict(run.values)
    for key in ("test_accuracy", "test_loss", "train_accuracy", "train_loss"):
        if key in shifts:
            values_of[key] = values_of[key] + shifts[key] if last[key] is None else last[key]
    for key in ("test_accuracy", "validation_accuracy"):
        values_of[f"best_{key}"] = max((value for _, value in epochs.points(key)), default=None)
    record = dict(run.record)
    if "best_weights" in record:
        record["best_weights"] = {
            key: value + shifts.get(key, 0.0) if value is not None else None
            for key, value in record["best_weights"].items()
        }
    return dataclasses.replace(run, epochs=epochs, values=values_of, record=record)
