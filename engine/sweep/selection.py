"""What a sweep came to, without choosing on the test set.

The figure is the test accuracy of the last epoch, over seeds. The best epoch on the test set, which
the reports give, is computed too and labelled so. Runs under different conditions (epochs scaled,
data limited, another precision) are never put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.columns import columns
from engine.statistics import Summary, summary
from engine.sweep.plan import Plan, PlannedRun
from engine.sweep.queue import Row
from engine.sweep.results import Record, Results
from engine.sweep.sheets import Claim
from engine.sweep.status import Status, status_of

UNFAIR = "best epoch, chosen on the test set: not a fair result"


@dataclass(frozen=True)
class Conditions:
    """What must be alike for accuracies to be put together."""

    epochs: int
    epochs_unscaled: int
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

    @property
    def reported(self) -> tuple[Claim, ...]:
        """What the report says of it."""
        return self.run.reported

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


def select(runs: Sequence[PlannedRun], results: Results, rows: Mapping[str, Row]) -> list[Result]:
    """The results of `runs`, in their order; a point without any finished run is there as well."""
    found: dict[tuple[str, Conditions], Result] = {}
    missing: dict[str, list[tuple[PlannedRun, Status]]] = {}
    for run in runs:
        record = results.finished(run.fingerprint) if run.fingerprint else None
        if record is None:
            missing.setdefault(run.point, []).append((run, status_of(run, results, rows)))
            continue
        conditions = conditions_of(run, str(record.get("precision")))
        result = found.setdefault((run.point, conditions), Result(run, conditions))
        _add(result, run, record)
    for point, left in missing.items():
        first = left[0][0]
        known = next((result for (name, _), result in found.items() if name == point), None)
        if known is None:
            conditions = conditions_of(first, first.config.runtime.precision)
            known = found.setdefault((point, conditions), Result(first, conditions))
        known.missing += [(run.name, status) for run, status in left]
    order = {point: index for index, point in enumerate(dict.fromkeys(run.point for run in runs))}
    return sorted(found.values(), key=lambda result: order[result.run.point])


def conditions_of(run: PlannedRun, precision: str) -> Conditions:
    """Those of a run that was, or will be, computed in `precision`."""
    limit = run.config.data.limit
    return Conditions(run.config.train.epochs, run.epochs_unscaled, limit, precision)


def content(plan: Plan, found: Sequence[Result]) -> dict[str, Any]:
    """All results as JSON."""
    return {
        "sweep": plan.sweep,
        "title": plan.title,
        "conditions": plan.content()["conditions"],
        "unit": "percent",
        "results": [result.content() for result in found],
    }


def table(found: Sequence[Result]) -> str:
    """All results for a person: the figure, the best epoch, what was reported."""
    rows = []
    lines_below: list[str] = []
    for result in found:
        best = _mean(result.best) if result.best else _mean(result.validation, " (validation)")
        claims = "; ".join(f"{c.value:g} {c.statistic} ({c.evidence})" for c in result.reported)
        rows.append(
            (
                result.run.point,
                result.run.variant,
                result.conditions.text(),
                str(len(result.last)),
                _mean(result.last),
                best,
                claims or "-",
            )
        )
        lines_below += [
            f"{name}: {status.text(result.conditions.epochs)}" for name, status in result.missing
        ]
    head = ("run", "variant", "conditions", "n", "last epoch", "best epoch *", "reported")
    lines = [columns(head, rows, right=())]
    lines += ["", "test accuracy in percent; mean ± standard deviation over seeds [95 % interval]"]
    lines += [f"* {UNFAIR}"]
    if lines_below:
        lines += ["", "without a result:", *(f"  {line}" for line in lines_below)]
    return "\n".join(lines)


def _add(result: Result, run: PlannedRun, record: Record) -> None:
    result.seeds.append(run.seed)
    for values, key in (
        (result.last, "test_accuracy"),
        (result.best, "best_test_accuracy"),
        (result.validation, "best_validation_accuracy"),
    ):
        accuracy = record.get(key)
        if isinstance(accuracy, (int, float)):
            values.append(100 * accuracy)


def _numbers(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return asdict(summary(values)) | {"values": list(values)}


def _mean(values: Sequence[float], what: str = "") -> str:
    if not values:
        return "-"
    found: Summary = summary(values)
    text = f"{found.mean:.2f}"
    if found.std is not None:
        text += f" ± {found.std:.2f} [{found.low:.2f}, {found.high:.2f}]"
    return text + what
