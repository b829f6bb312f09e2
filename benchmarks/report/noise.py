"""Where one more run would lie in 95 of 100 cases.

With several seeds their spread says so (Student's t). A single run has no spread. That of training
runs is close to what drawing another test set of the same size would give (Jordan, "Calibrated
Chaos", 2023). A run whose learning rate was still high at the end also jumps from one epoch to the
next; both are added, as variances.

The best of several epochs or runs spreads less than each of them and both sides have as many to
choose from, so the same intervals hold for maxima; they are wider than needed there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmarks.records.runs import RunRecord
from benchmarks.report.measured import NotMeasured
from engine.statistics import next_value
from engine.sweep.reported import LOSSES, ReportedValue

SETS = {"test": ("test_images", 10_000), "validation": ("validation_images", 1_000)}
TRAIN_IMAGES = ("train_images", 50_000)
LOSS_SPREAD = 3.0  # standard deviation of the loss over images, in means: it has a long tail
FEWEST, MOST = 8, 16  # epochs up to the reported one whose jumps are looked at: a fifth of all
_NORMAL = 1.96


def interval(
    values: Sequence[float], runs: Sequence[RunRecord], reported: ReportedValue
) -> tuple[float, float, str]:
    """The 95 % prediction interval of one more value, and what it rests on."""
    known = next_value(values)
    if known is not None:
        return *known, f"spread of {len(values)} seeds"
    if reported.measure == "epochs":
        raise NotMeasured("one seed: how far a number of epochs varies is not known")
    (value,), run = values, runs[0]
    sampling, basis = _sampling(value, run, reported)
    jumps = 0.0 if reported.statistic == "moving" else _jumps(run, reported)
    half = _NORMAL * math.sqrt(2) * math.hypot(sampling, jumps)
    if jumps > sampling / 2:
        basis += " and jumps between its epochs"
    if reported.selection == "validation":
        basis += "; how the kept epoch varies is not in it"
    return value - half, value + half, f"one seed: {basis}"


def _sampling(value: float, run: RunRecord, reported: ReportedValue) -> tuple[float, str]:
    """The standard deviation over sets of so many images."""
    kind = reported.measure.partition("_")[0]
    key, usual = SETS.get(kind, TRAIN_IMAGES)
    images = run[key] or usual
    basis = f"noise of {images:,} {kind} images"
    if reported.measure in LOSSES:
        return LOSS_SPREAD * value / math.sqrt(images), basis
    share = min(max(value / 100, 0.5 / images), 1 - 0.5 / images)
    return 100 * math.sqrt(share * (1 - share) / images), basis


def _jumps(run: RunRecord, reported: ReportedValue) -> float:
    """How far an epoch lies from the line through its neighbours, as a standard deviation.

    From the median of second differences, which a trend or a few restarts do not change.
    """
    epochs = run["epochs"] or 0
    recent = min(max(epochs // 5, FEWEST), MOST)
    end = max(reported.epoch or reported.until or epochs, recent)
    points = run.epochs.points(reported.measure)
    known = [value for epoch, value in points if epoch <= end][-recent:]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(known, known[1:], known[2:], strict=False)]
    if not bends:
        return 0.0
    unit = 1.0 if reported.measure in LOSSES else 100.0
    return unit * statistics.median(bends) / (0.6745 * math.sqrt(6))
