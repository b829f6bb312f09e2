"""How long runs will take: from the machine's rates, corrected by the runs that it has made.

The time per image is the network's operations at the rate of a large matrix product, plus what it
moves to and from memory at the rate of a large copy. Measured networks say by how much that is
off; the nearer their work is to that of a run, the more they count for it.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.explore.speed import trained_network
from engine.model import Variant, budget, resolve
from engine.step.rates import Rates
from engine.sweep.planned import PlannedRun
from engine.sweep.records import Record

SPREAD = 1.0  # a network of e times the work counts for exp(-1/2)
MACHINE = 0.2  # how much the rates alone count, where a run of the same work counts 1


class Cost(NamedTuple):
    """What training on one image takes."""

    operations: int
    traffic: int  # bytes moved to and from memory


@dataclass(frozen=True)
class Measured:
    """The machine in one precision, and the networks that it has trained."""

    rates: Rates
    networks: Mapping[Cost, float]  # seconds per image

    def seconds(self, cost: Cost) -> float:
        """Per image: as measured for the same network, else estimated."""
        known = self.networks.get(cost)
        return self.estimated(cost) if known is None else known

    def estimated(self, cost: Cost) -> float:
        """Per image, by the machine's rates and all other networks."""
        total, weights = 0.0, MACHINE
        for other, seconds in self.networks.items():
            if other != cost:
                distance = math.log(other.operations / cost.operations) / SPREAD
                weight = math.exp(-(distance**2) / 2)
                total += weight * math.log(seconds / self._unmeasured(other))
                weights += weight
        return self._unmeasured(cost) * math.exp(total / weights)

    @property
    def errors(self) -> list[float]:
        """Per network, of the estimate without its own runs."""
        return [abs(self.estimated(cost) / known - 1) for cost, known in self.networks.items()]

    def _unmeasured(self, cost: Cost) -> float:
        return cost.operations / self.rates.product + cost.traffic / self.rates.copy

    def text(self) -> str:
        """What the estimates rest on, and how good they are."""
        rates, errors = self.rates, self.errors
        machine = (
            f"{rates.device} ({rates.precision}): a matrix product at "
            f"{rates.product / 1e12:.3g} TFLOP/s, a copy at {rates.copy / 1e9:.3g} GB/s"
        )
        if not errors:
            return f"hours from the machine alone, no run made here yet: {machine}"
        count = f"{len(errors)} network{'s' if len(errors) > 1 else ''}"
        return (
            f"hours from {machine}, corrected by the runs of {count}; without its own runs a "
            f"network's time is off by {statistics.median(errors):.0%} (median), "
            f"{max(errors):.0%} (worst)"
        )

    def content(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "device": self.rates.device,
            "precision": self.rates.precision,
            "product_flops_per_second": self.rates.product,
            "copy_bytes_per_second": self.rates.copy,
            "networks": len(self.networks),
            "median_error": statistics.median(self.errors) if self.networks else None,
            "worst_error": max(self.errors, default=None),
        }


class Speeds:
    """The duration of planned runs; unknown in a precision of which there are no rates.

    Runs of a single epoch do not count: their speed includes warm-up and compiling.
    """

    def __init__(self, records: Iterable[Record], rates: Mapping[str, Rates]) -> None:
        known: dict[tuple[str, str], dict[Cost, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        networks: dict[int, tuple[Variant, int] | None] = {}  # the records of a sweep share them
        for record in records:
            epochs = record.get("epochs")
            if not isinstance(epochs, int) or epochs < 2:
                continue
            trained = trained_network(record, networks)
            if trained is None:
                continue
            of = trained.conditions
            cost = _cost(trained.variant, of["image_side"], of["precision"])
            known[of["device"], of["precision"]][cost].append(1 / trained.images_per_second)
        self.measured = {
            precision: Measured(each, {
                cost: statistics.median(seconds)
                for cost, seconds in known[each.device, each.precision].items()
            })
            for precision, each in rates.items()
        }  # fmt: skip

    def seconds(self, run: PlannedRun, *, own: bool = True) -> float | None:
        """Of the whole run; an evaluation takes as long per operation as training.

        Without its `own` runs, a measured network is estimated like any other.
        """
        measured = self.measured.get(run.config.runtime.precision)
        if measured is None:
            return None
        variant = resolve(run.config.model)
        cost = _cost(variant, run.image_side, measured.rates.precision)
        per_image = measured.seconds(cost) if own else measured.estimated(cost)
        return run.petaflops * 1e15 / cost.operations * per_image

    def total(self, runs: Sequence[PlannedRun]) -> tuple[float, int]:
        """Seconds of all whose time is known, and how many are not."""
        seconds = [self.seconds(run) for run in runs]
        return sum(filter(None, seconds)), seconds.count(None)

    def basis(self) -> str:
        """What the estimates rest on, in a line per precision."""
        return "\n".join(dict.fromkeys(each.text() for each in self.measured.values()))

    def content(self) -> list[dict[str, Any]]:
        """The same for a program."""
        return [each.content() for each in self.measured.values()]


class Remaining:
    """The runs without a result, added up by network: the time they take needs no look at each."""

    def __init__(self, runs: Iterable[PlannedRun]) -> None:
        self._runs: dict[tuple[str, str, int], PlannedRun] = {}  # one of each network
        self._counts: dict[tuple[str, str, int], int] = defaultdict(int)
        self._petaflops: dict[tuple[str, str, int], float] = defaultdict(float)
        for run in runs:
            key = self._key(run)
            self._runs.setdefault(key, run)
            self._counts[key] += 1
            self._petaflops[key] += run.petaflops

    def remove(self, run: PlannedRun) -> None:
        """One of them has its result, or will have none."""
        self._counts[self._key(run)] -= 1
        self._petaflops[self._key(run)] -= run.petaflops

    def total(self, speeds: Speeds) -> tuple[float, int, int]:
        """Seconds of all whose time is known, how many are not, and how many there are."""
        total, unknown = 0.0, 0
        for key, run in self._runs.items():
            if not self._counts[key]:
                continue
            seconds = speeds.seconds(run)
            if seconds is None:
                unknown += self._counts[key]
            elif run.petaflops:
                total += seconds / run.petaflops * self._petaflops[key]
        return total, unknown, sum(self._counts.values())

    @staticmethod
    def _key(run: PlannedRun) -> tuple[str, str, int]:
        return run.variant, run.config.runtime.precision, run.image_side


@functools.cache
def _cost(variant: Variant, side: int, precision: str) -> Cost:
    width = 4 if precision == "fp32" else 2
    return Cost(
        budget.flops(variant, side=side).training, width * budget.training_traffic(variant, side)
    )
