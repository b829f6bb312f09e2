"""What a number was measured under. Numbers of different conditions are never averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.records.runs import RunFile
from engine.errors import UserError
from engine.statistics import Summary, summary

REPORTED_ON = "cifar10"  # the data set of all reports, by the name of its files


@dataclass(frozen=True, order=True)
class Conditions:
    """Everything that makes two accuracies incomparable, whatever the network and recipe."""

    scale: float = 1.0  # epochs, of the recipe's
    limit: int = 0  # training images used; 0: all
    precision: str = ""
    data: str = ""  # the name of the set
    digest: str = ""  # of the test set

    @property
    def full(self) -> bool:
        """Whether recipes ran as long as they should, on all images."""
        return self.scale == 1 and not self.limit

    @property
    def comparable(self) -> bool:
        """Whether the reports' figures can be held against these at all."""
        return self.full and self.data in ("", REPORTED_ON)

    @property
    def words(self) -> str:
        """`full runs, cifar10, bf16`."""
        parts = ["full length" if self.scale == 1 else f"epochs × {self.scale:g}"]
        if self.limit:
            parts.append(f"{self.limit:,} training images")
        return ", ".join([*parts, self.data or "data unknown", self.precision or "precision open"])

    def differs(self, other: Conditions) -> list[str]:
        """What is not the same in `other`, in words."""
        found = []
        if self.scale != other.scale:
            found.append(f"epochs scaled by {self.scale:g} and {other.scale:g}")
        if self.limit != other.limit:
            ours, theirs = (f"{n:,}" if n else "all" for n in (self.limit, other.limit))
            found.append(f"training images {ours} and {theirs}")
        if self.precision != other.precision:
            found.append(f"precision {self.precision} and {other.precision}")
        if (self.data, self.digest) != (other.data, other.digest):
            name = self.data if self.data != other.data else f"{self.data} {self.digest[:8]}"
            last = other.data if self.data != other.data else f"{other.data} {other.digest[:8]}"
            found.append(f"data {name} and {last}")
        return found


def conditions_of(run: RunFile, scales: Mapping[str, float] | None = None) -> Conditions:
    """Those of a run; `scales` knows by fingerprint what a sweep has shortened."""
    return Conditions(
        scale=(scales or {}).get(run["fingerprint"] or "", 1.0),
        limit=int(run["limit"] or 0),
        precision=run["precision"] or "",
        data=run["data"] or "",
        digest=run["data_digest"] or "",
    )


def together(
    runs: Iterable[RunFile], key: str, scales: Mapping[str, float] | None = None
) -> Summary | None:
    """Mean and spread of `key` over finished runs; a mixture of conditions is refused."""
    done = [run for run in runs if run.finished and run[key] is not None]
    refuse_mixture(done, scales)
    return summary(run[key] for run in done) if done else None


def refuse_mixture(runs: Sequence[RunFile], scales: Mapping[str, float] | None = None) -> None:
    """Raise where the runs were not all made under the same conditions."""
    if not runs:
        return
    first = conditions_of(runs[0], scales)
    for run in runs[1:]:
        wrong = first.differs(conditions_of(run, scales))
        if wrong:
            raise UserError(
                f"{runs[0].folder} and {run.folder} were made under different conditions "
                f"({'; '.join(wrong)}): their mean would say nothing"
            )
