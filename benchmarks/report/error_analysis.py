"""What a trained network gets wrong: its confusion matrix, its classes, its worst test images.

Needs the run's weights and the same test file that the run was tested on. Results are cached beside
the report, so that the next report computes nothing.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.runs import RunRecord
from benchmarks.records.untrusted import mapping, number, printable, read_object
from engine import atomic
from engine.errors import UserError
from engine.runs.directory import RunFolder

WORST = 25  # images shown
FORMAT = 1


@dataclass(frozen=True)
class WorstImage:
    """A test image with one of the largest losses."""

    image: int  # its number in the file
    truth: str
    predicted: str
    probability: float  # of the predicted class
    png: str  # base64


@dataclass(frozen=True)
class ErrorAnalysis:
    """What a network predicts for the test images."""

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # row: truth, column: prediction
    worst: tuple[WorstImage, ...]  # the largest losses first

    @property
    def images(self) -> int:
        """How many were tested."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of images that are predicted rightly."""
        right = sum(row[place] for place, row in enumerate(self.confusion))
        return right / max(self.images, 1)

    def of_class(self, number: int) -> float | None:
        """The accuracy within a class; None if it has no images."""
        total = sum(self.confusion[number])
        return self.confusion[number][number] / total if total else None


@dataclass
class Allowance:
    """Seconds that may be spent on computing; None: no limit."""

    seconds: float | None
    spent: float = 0.0
    rate: float = 0.0  # FLOP/s, the best so far

    def estimate(self, run: RunRecord) -> float:
        """Seconds that the analysis of a run will take."""
        self.rate = self.rate or _first_rate()
        return _work(run) / self.rate

    def reason_to_stop(self, run: RunRecord) -> str:
        """Why the analysis of a run may not begin; empty if it may."""
        if self.seconds is None:
            return ""
        if self.seconds == 0:
            return "left out by --predictions none"
        left = self.seconds - self.spent
        if left <= 0:
            return (
                f"the {self.seconds:g} s for predictions were spent on other runs; make the report "
                "again (it continues with the remaining runs), or use --predictions all"
            )
        estimate = self.estimate(run)
        if estimate <= left:
            return ""
        if estimate <= self.seconds:
            return (
                f"they take about {estimate:.0f} s, and {left:.0f} s were left after other runs; "
                "make the report again, or use --predictions all"
            )
        return (
            f"they take about {estimate:.0f} s here, and at most {self.seconds:g} s are spent on "
            "predictions; --predictions all computes them"
        )


def _work(run: RunRecord) -> float:
    """FLOPs of a forward pass over the test images."""
    forward = number(mapping(run.record.get("flops")).get("forward"))
    return (forward or 0.0) * (run["test_images"] or 0)


def _first_rate() -> float:
    """FLOP/s before any analysis was timed: rather too low than too high."""
    import torch

    return 5e12 if torch.cuda.is_available() else 1e11


def analyse_all(
    runs: Sequence[RunRecord], cache: Path, allowance: Allowance, notify: Callable[[str], None]
) -> dict[str, ErrorAnalysis | str]:
    """By folder, the analysis of every run, best runs first."""
    ranked = sorted(runs, key=lambda run: -(run["test_accuracy"] or 0) if run.finished else 1)
    analyses: dict[str, ErrorAnalysis | str] = {}
    for place, run in enumerate(ranked, start=1):
        words = f"predictions of {run.folder} (run {place} of {len(ranked)})"
        analyses[run.folder] = analyse(run, cache, allowance, functools.partial(notify, words))
    return analyses


def analyse(
    run: RunRecord, cache: Path, allowance: Allowance, notify: Callable[[], object] = bool
) -> ErrorAnalysis | str:
    """What the network of a run gets wrong, or why that is not known; `notify` before computing."""
    reason = _missing(run)
    if reason:
        return reason
    key = f"{run.record.get('weights_sha256')}-{run['data_digest']}-{run['limit']}"
    path = cache / f"{''.join(letter for letter in key if letter.isalnum() or letter == '-')}.json"
    cached = _read(path)
    if cached is not None:
        return cached
    reason = allowance.reason_to_stop(run)
    if reason:
        return reason
    notify()
    start = time.monotonic()
    try:
        analysis = _computed(run)
    except UserError as error:
        return printable("; ".join(error.problems))
    except Exception as error:  # an old or damaged run must not cost the report
        return printable(f"could not be computed: {type(error).__name__}: {error}")[:300]
    finally:
        seconds = time.monotonic() - start
        allowance.spent += seconds
    allowance.rate = max(allowance.rate, _work(run) / max(seconds, 1e-3))
    cache.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "classes": analysis.classes,
        "confusion": analysis.confusion,
        "mistakes": [astuple(each) for each in analysis.worst],
    }
    atomic.write_json(path, content)
    return analysis


def _missing(run: RunRecord) -> str:
    if not run.finished:
        return f"the run is {run.status}"
    if not (run.path / "weights.safetensors").is_file():
        return "the run's weights.safetensors is not there"
    path, root = (run.config.get(key) for key in ("data.test", "run.root"))
    if not isinstance(path, str) or not isinstance(root, str) or "\0" in path:
        return "the record does not say what the run was tested on"
    if not RunFolder(run.path).from_here(path, root).is_file():
        return f"the test set {printable(path)} is not there"
    return ""


def _computed(run: RunRecord) -> ErrorAnalysis:
    import torch
    from torch.nn.functional import cross_entropy

    from engine.evaluate import predictions  # seconds of imports, needed for this alone

    tested = predictions(RunFolder(run.path))
    logits, labels = tested.logits.double(), tested.labels
    classes = tuple(printable(name) for name in tested.classes)
    count = len(classes)
    predicted = logits.argmax(1)
    pairs = torch.bincount(labels * count + predicted, minlength=count * count)
    confusion = pairs.reshape(count, count).tolist()
    losses = torch.nan_to_num(cross_entropy(logits, labels, reduction="none"), nan=math.inf)
    worst = losses.argsort(descending=True, stable=True)[:WORST].tolist()
    probabilities = logits.softmax(1).nan_to_num(0)
    images = _images(tested.beton, [tested.ids[place] for place in worst])
    return ErrorAnalysis(
        classes,
        tuple(tuple(row) for row in confusion),
        tuple(
            WorstImage(
                image=tested.ids[place],
                truth=classes[int(labels[place])],
                predicted=classes[int(predicted[place])],
                probability=float(probabilities[place, predicted[place]]),
                png=_png(image),
            )
            for place, image in zip(worst, images, strict=True)
        ),
    )


def _images(beton: Any, ids: list[int]) -> Any:
    import numpy as np

    images = np.empty((len(ids), beton.height, beton.width, 3), np.uint8)
    beton.read(np.array(ids, dtype=np.int64), images)
    return images


def _png(image: Any) -> str:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(image).save(target, "PNG", optimize=True)
    return base64.b64encode(target.getvalue()).decode()


def _read(path: Path) -> ErrorAnalysis | None:
    """The result of an earlier report; a damaged file is computed again."""
    content = read_object(path, [])
    try:
        if content["format"] != FORMAT:
            return None
        classes = tuple(map(printable, content["classes"]))
        confusion = tuple(tuple(map(_count, row)) for row in content["confusion"])
        if {len(classes)} != {len(confusion), *map(len, confusion)}:
            raise ValueError("another number of rows or columns than of classes")
        worst = tuple(
            WorstImage(
                _count(image), printable(truth), printable(predicted), _share(share), _base64(png)
            )
            for image, truth, predicted, share, png in content["mistakes"][:WORST]
        )
        return ErrorAnalysis(classes, confusion, worst)
    except (ValueError, KeyError, TypeError):
        return None


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("not a count")
    return value


def _share(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError("not a share")
    return float(value)


def _base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text
