"""The results of a sweep, without choosing on the test set.

The result is the test accuracy of the last epoch, over seeds. The best epoch on the test set, which
the reports give, is computed too and labelled so. Runs under different conditions (epochs scaled,
data limited, another precision) are never averaged together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.columns import columns
from engine.statistics import summary
from engine.sweep.planned import Plan, PlannedRun
from engine.sweep.queue_rows import QueueRow
from engine.sweep.records import Record, Records
from engine.sweep.status import Status, status_of

HEAD = ("run", "variant", "conditions", "n", "last epoch", "best epoch *", "reported")
UNFAIR = "best epoch, chosen on the test set: not a fair result"


@dataclass(frozen=True)
class Conditions:
    """What must be equal for accuracies to be averaged together."""

    epochs: float
    epochs_unscaled: float
    data_limit: int
    precision: str

    def text(self) -> str:
        """In a few words."""
        epochs = f"{self.epochs} epochs"
        if self.epochs != self.epochs_unscaled:
            epochs = f"{self.epochs} of {self.epochs_unscaled} epochs"
        images = f", {self.data_limit:,} images" if self.data_limit else ""
        return f"{epochs}{images}, {self.precision}"


@dataclass
class Result:
    """One point over its seeds, all under the same conditions; accuracies in percent."""

    run: PlannedRun  # the first of its seeds
    conditions: Conditions
    seeds: list[int] = field(default_factory=list)
    last: list[float] = field(default_factory=list)  # test accuracy of the last epoch
    best: list[float] = field(default_factory=list)  # over the epochs, on the test set
    validation: list[float] = field(default_factory=list)  # over the epochs, on held-out images
    missing: list[tuple[str, Status]] = field(default_factory=list)  # seeds without a result

    def add(self, record: Record, seed: int) -> None:
        """Add a finished run."""
        self.seeds.append(seed)
        for values, key in (
            (self.last, "test_accuracy"),
            (self.best, "best_test_accuracy"),
            (self.validation, "best_validation_accuracy"),
        ):
            accuracy = record.get(key)
            if isinstance(accuracy, (int, float)):
                values.append(100 * accuracy)

    def content(self) -> dict[str, Any]:
        """As JSON."""
        run = self.run
        return {
            "run": run.point,
            "report": run.report,
            "experiment": run.experiment,
            "title": run.title,
            "variant": run.variant,
            "params": run.params,
            "recipe": run.recipe,
            "conditions": asdict(self.conditions),
            "seeds": self.seeds,
            "last_epoch_test_accuracy": _numbers(self.last),
            "best_epoch_on_the_test_set": _numbers(self.best),
            "best_epoch_on_validation": _numbers(self.validation),
            "reported": run.content()["reported"],
            "notes": list(run.notes),
            "incomplete": [
                {"run": name, "state": status.state, "epochs": status.epochs, "error": status.error}
                for name, status in self.missing
            ],
        }


def select(
    runs: Sequence[PlannedRun], records: Records, rows: Mapping[str, QueueRow]
) -> list[Result]:
    """The results of `runs`, in their order; a point without any finished run is there as well."""
    points: dict[str, dict[Conditions, Result]] = {run.point: {} for run in runs}
    missing = []
    for run in runs:
        record = records.finished(run.fingerprint)
        if record is None:
            missing.append(run)
            continue
        conditions = conditions_of(run, str(record.get("precision")))
        points[run.point].setdefault(conditions, Result(run, conditions)).add(record, run.seed)
    for run in missing:
        results = points[run.point]
        if not results:
            conditions = conditions_of(run, run.config.runtime.precision)
            results[conditions] = Result(run, conditions)
        first = next(iter(results.values()))
        first.missing.append((run.name, status_of(run, records, rows)))
    return [result for results in points.values() for result in results.values()]


def conditions_of(run: PlannedRun, precision: str) -> Conditions:
    """Those of a run that was, or will be, computed in `precision`."""
    limit = run.config.data.limit
    return Conditions(run.config.train.epochs, run.epochs_unscaled, limit, precision)


def content(plan: Plan, results: Sequence[Result]) -> dict[str, Any]:
    """All results as JSON."""
    return {
        "sweep": plan.sweep,
        "title": plan.title,
        "conditions": plan.content()["conditions"],
        "unit": "percent",
        "results": [result.content() for result in results],
    }


def table(results: Sequence[Result]) -> str:
    """All results for a person: the last epoch, the best epoch, the reported values."""
    rows = []
    for result in results:
        best = _mean(result.best) if result.best else _mean(result.validation, " (validation)")
        reported = [f"{each.text} ({each.evidence})" for each in result.run.reported]
        rows.append(
            (
                result.run.point,
                result.run.variant,
                result.conditions.text(),
                str(len(result.last)),
                _mean(result.last),
                best,
                "; ".join(reported) or "-",
            )
        )
    lines = [
        columns(HEAD, rows, right=()),
        "",
        "test accuracy in percent; mean ± standard deviation over seeds [95 % interval]",
        f"* {UNFAIR}",
    ]
    missing = [
        f"  {name}: {status.text(result.conditions.epochs)}"
        for result in results
        for name, status in result.missing
    ]
    return "\n".join([*lines, *(["", "without a result:", *missing] if missing else [])])


def _numbers(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return asdict(summary(values)) | {"values": list(values)}


def _mean(values: Sequence[float], what: str = "") -> str:
    if not values:
        return "-"
    seeds = summary(values)
    text = f"{seeds.mean:.2f}"
    if seeds.std is not None:
        text += f" ± {seeds.std:.2f} [{seeds.low:.2f}, {seeds.high:.2f}]"
    return text + what
