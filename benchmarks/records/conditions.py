"""The conditions of a run, under which alone accuracies are averaged; what repetitions share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records.runs import RunRecord
from benchmarks.records.untrusted import mapping, printable
from engine.config.fingerprint import WEIGHTS, WITHOUT_EFFECT
from engine.errors import UserError
from engine.statistics import Summary, summary

REPORTED_ON = "cifar10"  # the data set of all reports, by the name of its files
DATA_PATHS = ("data.train", "data.test")


@dataclass(frozen=True, order=True)
class Conditions:
    """Everything that makes two accuracies incomparable, whatever the network and recipe."""

    scale: float = 1.0  # factor on the recipe's epochs
    limit: int = 0  # training images used; 0: all
    precision: str = ""
    data: str = ""  # the name of the data set
    digest: str = ""  # of the test set

    @property
    def full(self) -> bool:
        """Whether the recipes ran for all their epochs, on all images."""
        return self.scale == 1 and not self.limit

    @property
    def comparable(self) -> bool:
        """Whether the reports' figures can be compared with these at all."""
        return self.full and self.data in ("", REPORTED_ON)

    @property
    def words(self) -> str:
        """`full length, cifar10, bf16`."""
        parts = ["full length" if self.scale == 1 else f"epochs × {self.scale:g}"]
        if self.limit:
            parts.append(f"{self.limit:,} training images")
        parts += [self.data or "data unknown", self.precision or "precision unknown"]
        return ", ".join(parts)

    @property
    def short(self) -> str:
        """`epochs-0.05.limit-2000.cifar10.bf16`, as part of a file's name."""
        parts = [f"epochs-{self.scale:g}"] if self.scale != 1 else []
        parts += [f"limit-{self.limit}"] if self.limit else []
        return ".".join([*parts, self.data or "no-data", self.precision or "no-precision"])

    def differences(self, other: Conditions) -> list[str]:
        """What is not the same in `other`, in words."""
        words = []
        if self.scale != other.scale:
            words.append(f"epochs scaled by {self.scale:g} and {other.scale:g}")
        if self.limit != other.limit:
            ours, theirs = (f"{n:,}" if n else "all" for n in (self.limit, other.limit))
            words.append(f"training images {ours} and {theirs}")
        if self.precision != other.precision:
            words.append(f"precision {self.precision} and {other.precision}")
        if self.data != other.data:
            words.append(f"data {self.data} and {other.data}")
        elif self.digest != other.digest:
            ours, theirs = (f"{each.data} {each.digest[:8]}" for each in (self, other))
            words.append(f"data {ours} and {theirs}")
        return words


def conditions_of(run: RunRecord, scales: Mapping[str, float] | None = None) -> Conditions:
    """Those of a run; `scales` has by fingerprint how far a sweep scaled its epochs."""
    return Conditions(
        scale=(scales or {}).get(run["fingerprint"] or "", 1.0),
        limit=int(run["limit"] or 0),
        precision=run["precision"] or "",
        data=run["data"] or "",
        digest=run["data_digest"] or "",
    )


def settings_of(run: RunRecord) -> dict[str, Any]:
    """The settings that decide a run's result, except its seed and the paths of its data.

    Weights that it starts from count by their digest; older records know no such setting.
    """
    left_out = ("train.seed", *WITHOUT_EFFECT, *DATA_PATHS, *WEIGHTS)
    settings = {key: value for key, value in run.config.items() if not key.startswith(left_out)}
    digest = mapping(run.record.get("initial_weights")).get("sha256")
    if digest is not None:
        settings |= {key: run.config.get(key) for key in WEIGHTS} | {WEIGHTS[0]: printable(digest)}
    return settings


def setting_key(run: RunRecord) -> str:
    """The same text for runs of one network, one recipe and the same data: they differ in seed."""
    data = run.record.get("data_digests") or [run.config.get(key) for key in DATA_PATHS]
    identity = settings_of(run) | {"variant": run["variant"], "data": data}
    return json.dumps(identity, sort_keys=True, default=str)


def percent_summary(
    runs: Iterable[RunRecord], key: str, scales: Mapping[str, float] | None = None
) -> Summary | None:
    """Mean and spread, in per cent, of a share over the finished runs that have it.

    Raises if they do not all have the same conditions.
    """
    finished = [run for run in runs if run.finished and run[key] is not None]
    refuse_mixture(finished, scales)
    return summary(100 * run[key] for run in finished) if finished else None


def refuse_mixture(runs: Sequence[RunRecord], scales: Mapping[str, float] | None = None) -> None:
    """Raise if the runs do not all have the same conditions."""
    for run in runs[1:]:
        differences = conditions_of(runs[0], scales).differences(conditions_of(run, scales))
        if differences:
            raise UserError(
                f"{runs[0].folder} and {run.folder} were made under different conditions "
                f"({'; '.join(differences)}): their mean would say nothing"
            )
