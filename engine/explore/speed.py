"""Predicts the training speed of any network from the records of finished runs.

The model is linear: the time per image is a factor times its FLOPs, plus a factor times the values
that its convolutions write to memory, plus a constant. The three are fitted to the measured
networks of one device and setting; without any, speed is only relative, from the FLOPs alone.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.config.schema import from_dict
from engine.errors import UserError
from engine.model import VARIANTS, Variant, budget, resolve
from engine.runs.directory import FINISHED, read_json

REFERENCE = "resnet453"  # whose relative speed is 1
TERMS = ("operation", "value", "image")
Times = npt.NDArray[np.float64]


class Measurement(NamedTuple):
    """The speed of a network that was trained."""

    training: int  # FLOPs per image, forward and backward
    values: int  # written by its convolutions, per image
    images_per_second: float


class TrainedNetwork(NamedTuple):
    """What a record says about the speed of its network."""

    variant: Variant
    training: int  # FLOPs per image, forward and backward
    images_per_second: float
    conditions: dict[str, Any]


@dataclass(frozen=True)
class Speed:
    """A prediction of images/s, and what it rests on."""

    seconds: tuple[float, float, float]  # per operation, per value, per image
    measured: bool  # False: only relative
    conditions: dict[str, Any]
    networks: int = 0
    errors: tuple[float, ...] = ()  # per network, when predicted from the others

    def __call__(self, training: npt.ArrayLike, values: npt.ArrayLike) -> Times:
        """Images/s, or the relative speed."""
        operation, value, image = self.seconds
        return 1 / (operation * np.asarray(training) + value * np.asarray(values) + image)

    @property
    def label(self) -> str:
        """One line: what the figure is, and how far off it may be."""
        if not self.measured:
            return (
                f"relative speed: from the FLOPs alone, {REFERENCE} = 1; no finished runs to "
                "predict from"
            )
        known = self.conditions
        many = "networks" if self.networks != 1 else "network"
        text = (
            f"images/s: predicted from {self.networks} measured {many} on {known['device']} "
            f"({known['precision']}, batch {known['batch_size']}) by "
            + " + ".join(
                f"{seconds:.3g} s per {term}"
                for seconds, term in zip(self.seconds, TERMS, strict=True)
                if seconds
            )
        )
        if not self.errors:
            return f"{text}; too few to estimate the error"
        return (
            f"{text}; leave-one-out error: median {statistics.median(self.errors):.0%}, "
            f"maximum {max(self.errors):.0%}"
        )


def from_runs(root: Path) -> Speed:
    """Fit the finished runs below `root`, of the setting (device, precision, batch size) with the
    most networks.
    """
    groups: dict[tuple[Any, ...], dict[tuple[int, int], list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for conditions, one in _measurements(root):
        key = tuple(conditions.items())
        groups[key][one.training, one.values].append(one.images_per_second)
    if not groups:
        return relative()
    best = max(groups, key=lambda key: (len(groups[key]), sum(map(len, groups[key].values()))))
    networks = [
        Measurement(*costs, statistics.median(speeds)) for costs, speeds in groups[best].items()
    ]
    return fitted(networks, dict(best))


def relative() -> Speed:
    """Speed from the FLOPs alone."""
    reference = budget.flops(VARIANTS[REFERENCE]).training
    return Speed((1 / reference, 0.0, 0.0), False, {})


def fitted(networks: list[Measurement], conditions: dict[str, Any]) -> Speed:
    """The model with the least relative error; it has fewer terms than there are networks."""
    errors: list[float] = []
    if len(networks) > 2:
        for index, left_out in enumerate(networks):
            others = Speed(_fit(networks[:index] + networks[index + 1 :]), True, {})
            predicted = float(others(left_out.training, left_out.values))
            errors.append(abs(predicted / left_out.images_per_second - 1))
    return Speed(_fit(networks), True, conditions, len(networks), tuple(errors))


def _fit(networks: list[Measurement]) -> tuple[float, float, float]:
    """Least squares of the relative errors over the choices of terms that leave none negative."""
    times = np.array([1 / one.images_per_second for one in networks])
    table = np.array([(one.training, one.values, 1) for one in networks], np.float64)
    scale = table.max(axis=0)
    scaled = table / scale / times[:, None]
    best = (np.inf, np.zeros(3))
    usable = range(min(len(TERMS), max(1, len(networks) - 1)))
    for count in range(1, len(usable) + 1):
        for terms in itertools.combinations(usable, count):
            factors = np.zeros(3)
            solved, *_ = np.linalg.lstsq(scaled[:, terms], np.ones(len(times)), rcond=None)
            factors[list(terms)] = solved
            error = float(np.sum((scaled @ factors - 1) ** 2))
            if (factors >= 0).all() and error < best[0] * (1 - 1e-9):
                best = (error, factors)
    operation, value, image = best[1] / scale
    return float(operation), float(value), float(image)


def trained_network(
    record: Mapping[str, Any], networks: dict[int, tuple[Variant, int] | None] | None = None
) -> TrainedNetwork | None:
    """The network of a run and its measured speed; None where the record has none or is broken.

    A configuration that many records share is read once, if `networks` is kept for them.
    """
    networks = {} if networks is None else networks
    try:
        config = record["config"]
        if id(config) not in networks:
            read = from_dict(config)
            staged = read.augment.sizes or read.train.freeze_layers  # several speeds, one per stage
            network = None if staged else (resolve(read.model), read.train.batch_size)
            networks[id(config)] = network
        known = networks[id(config)]
        if known is None:
            return None
        variant, batch_size = known
        rate, work = float(record["images_per_second"]), int(record["flops"]["training"])
        conditions = {
            "device": str(record["device"]),
            "precision": str(record["precision"]),
            "compiled": bool(record["compiled"]),
            "batch_size": batch_size,
            "image_side": int(record["image_side"]),
        }
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UserError):
        return None  # broken, or written by another version
    usable = 0 < rate < math.inf and work > 0
    return TrainedNetwork(variant, work, rate, conditions) if usable else None


def _measurements(root: Path) -> Iterator[tuple[dict[str, Any], Measurement]]:
    for path in sorted(root.glob("[!.]*/record.json")):
        try:
            record = read_json(path) or {}
        except (OSError, UserError):
            continue
        trained = trained_network(record)
        if trained is not None and record.get("status") == FINISHED:
            variant, work, rate, conditions = trained
            values = budget.values(variant, conditions["image_side"])
            yield conditions, Measurement(work, values, rate)
