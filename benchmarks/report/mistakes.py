"""What a trained network gets wrong: its confusions, its classes, its worst test images.

Needs the run's weights and the very test file that the run was tested on. What was found is kept
beside the report, so that a second report computes nothing.
"""

from __future__ import annotations

import base64
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.runs import RunFile
from benchmarks.records.untrusted import clean
from engine import atomic
from engine.errors import UserError

WORST = 25  # images shown
FORMAT = 1


@dataclass(frozen=True)
class Mistake:
    """A test image, what it shows and what the network says."""

    image: int  # its number in the file
    truth: str
    said: str
    sure: float  # probability of what it said
    png: str  # base64


@dataclass(frozen=True)
class Pictures:
    """What is known of a network's answers."""

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # row: truth, column: answer
    mistakes: tuple[Mistake, ...]  # the largest losses first

    @property
    def images(self) -> int:
        """How many were looked at."""
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        """How many were right."""
        return sum(row[number] for number, row in enumerate(self.confusion))

    def of_class(self, number: int) -> float | None:
        """The share of a class that was right; None where none was there."""
        total = sum(self.confusion[number])
        return self.confusion[number][number] / total if total else None


class Allowance:
    """Seconds that may be spent; None: as many as it takes."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._began = clock()

    @property
    def spent(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._seconds is not None and self._clock() - self._began >= self._seconds

    def words(self) -> str:
        """Why something was left out."""
        if not self._seconds:
            return "left out by --predictions none"
        return (
            f"the {self._seconds:g} s for predictions were spent on other runs; make the report "
            "again (it goes on where it stopped), or take --predictions all"
        )


def of(run: RunFile, cache: Path, allowance: Allowance) -> Pictures | str:
    """What the network of a run gets wrong, or why that is not known."""
    missing = _missing(run)
    if missing:
        return missing
    key = f"{run.record.get('weights_sha256')}-{run['data_digest']}-{run['limit']}"
    kept = cache / f"{''.join(letter for letter in key if letter.isalnum() or letter == '-')}.json"
    known = _kept(kept)
    if known is not None:
        return known
    if allowance.spent:
        return allowance.words()
    try:
        found = _computed(run)
    except UserError as error:
        return clean("; ".join(error.problems))
    except Exception as error:  # an old or damaged run must not cost the report
        return clean(f"could not be computed: {type(error).__name__}: {error}")[:300]
    cache.mkdir(parents=True, exist_ok=True)
    atomic.write_json(kept, _as_json(found))
    return found


def _missing(run: RunFile) -> str:
    if not run.finished:
        return f"the run is {run.status}"
    if not (run.path / "weights.safetensors").is_file():
        return "the run's weights.safetensors is not there"
    path = run.config.get("data.test")
    if not isinstance(path, str) or not Path(path).is_file():
        return f"the test set {clean(path)} is not there"
    return ""


def _computed(run: RunFile) -> Pictures:
    import torch
    from torch.nn.functional import cross_entropy

    from engine.evaluate import predictions  # seconds of imports, needed for this alone
    from engine.runs.directory import RunFolder

    found = predictions(RunFolder(run.path))
    if found.beton.sha256 != run["data_digest"]:
        raise UserError(f"{found.path} is not the file that the run was tested on")
    logits, labels = found.logits.double(), found.labels
    count = len(found.classes)
    answers = logits.argmax(1)
    pairs = torch.bincount(labels * count + answers, minlength=count * count)
    confusion = pairs.reshape(count, count).tolist()
    losses = cross_entropy(logits, labels, reduction="none")
    losses = torch.nan_to_num(losses, nan=math.inf)
    worst = losses.argsort(descending=True, stable=True)[:WORST].tolist()
    chances = logits.softmax(1)
    images = _images(found.beton, [found.ids[place] for place in worst])
    return Pictures(
        tuple(clean(name) for name in found.classes),
        tuple(tuple(row) for row in confusion),
        tuple(
            Mistake(
                image=found.ids[place],
                truth=clean(found.classes[int(labels[place])]),
                said=clean(found.classes[int(answers[place])]),
                sure=_finite(float(chances[place, answers[place]])),
                png=_png(image),
            )
            for place, image in zip(worst, images, strict=True)
        ),
    )


def _images(beton: Any, ids: list[int]) -> Any:
    import numpy as np

    out = np.empty((len(ids), beton.height, beton.width, 3), np.uint8)
    beton.read(np.array(ids, dtype=np.int64), out)
    return out


def _png(image: Any) -> str:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(image).save(target, "PNG", optimize=True)
    return base64.b64encode(target.getvalue()).decode()


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _as_json(found: Pictures) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "classes": list(found.classes),
        "confusion": [list(row) for row in found.confusion],
        "mistakes": [list(vars(mistake).values()) for mistake in found.mistakes],
    }


def _kept(path: Path) -> Pictures | None:
    """What an earlier report found; a damaged file is computed again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        mistakes = tuple(
            Mistake(int(image), str(truth), str(said), float(sure), _base64(png))
            for image, truth, said, sure, png in content["mistakes"]
        )
        confusion = tuple(tuple(int(n) for n in row) for row in content["confusion"])
        return Pictures(tuple(map(str, content["classes"])), confusion, mistakes)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text
