"""What a trained network gets wrong: its confusion matrix, its classes, its worst test images.

Needs the run's weights and the same test file that the run was tested on. Results are cached beside
the report, so that the next report computes nothing.
"""

from __future__ import annotations

import base64
import io
import json
import math
import time
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records.runs import RunRecord
from benchmarks.records.untrusted import printable
from engine import atomic
from engine.errors import UserError

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

    def of_class(self, number: int) -> float | None:
        """The accuracy within a class; None if it has no images."""
        total = sum(self.confusion[number])
        return self.confusion[number][number] / total if total else None


@dataclass(frozen=True)
class Allowance:
    """Seconds that may be spent on computing; None: no limit."""

    seconds: float | None
    start: float = field(default_factory=time.monotonic)

    def reason_to_stop(self) -> str:
        """Why no more analysis may begin; empty if one may."""
        if self.seconds is None or time.monotonic() - self.start < self.seconds:
            return ""
        if self.seconds == 0:
            return "left out by --predictions none"
        return (
            f"the {self.seconds:g} s for predictions were spent on other runs; make the report "
            "again (it continues with the remaining runs), or use --predictions all"
        )


def analyse(run: RunRecord, cache: Path, allowance: Allowance) -> ErrorAnalysis | str:
    """What the network of a run gets wrong, or why that is not known."""
    reason = _missing(run)
    if reason:
        return reason
    key = f"{run.record.get('weights_sha256')}-{run['data_digest']}-{run['limit']}"
    path = cache / f"{''.join(letter for letter in key if letter.isalnum() or letter == '-')}.json"
    cached = _read(path)
    if cached is not None:
        return cached
    reason = allowance.reason_to_stop()
    if reason:
        return reason
    try:
        analysis = _computed(run)
    except UserError as error:
        return printable("; ".join(error.problems))
    except Exception as error:  # an old or damaged run must not cost the report
        return printable(f"could not be computed: {type(error).__name__}: {error}")[:300]
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
    path = run.config.get("data.test")
    if not isinstance(path, str) or not Path(path).is_file():
        return f"the test set {printable(path)} is not there"
    return ""


def _computed(run: RunRecord) -> ErrorAnalysis:
    import torch
    from torch.nn.functional import cross_entropy

    from engine.evaluate import predictions  # seconds of imports, needed for this alone
    from engine.runs.directory import RunFolder

    tested = predictions(RunFolder(run.path))
    if tested.beton.sha256 != run["data_digest"]:
        raise UserError(f"{tested.path} is not the file that the run was tested on")
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        worst = tuple(
            WorstImage(int(image), str(truth), str(predicted), float(probability), _base64(png))
            for image, truth, predicted, probability, png in content["mistakes"]
        )
        confusion = tuple(tuple(int(n) for n in row) for row in content["confusion"])
        return ErrorAnalysis(tuple(map(str, content["classes"])), confusion, worst)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text
