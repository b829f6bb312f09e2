"""How two sets of measurements differ, and whether that is more than noise."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.records.conditions import conditions_of, refuse_mixture, setting_key, settings_of
from benchmarks.records.runs import RunRecord
from benchmarks.records.untrusted import numbers, printable
from engine import files
from engine.errors import RunFailed, UserError
from engine.statistics import Difference, Summary, summary, welch

LOSSES = ("train_loss", "test_loss", "validation_loss")
VERDICTS = {
    "higher": "better",
    "lower": "worse",
    "cannot tell": "cannot tell: needs at least two values on each side",
}
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Comparison:
    """One measure of one thing on both sides; more is better."""

    what: str
    measure: str
    unit: str  # %, or images/s
    first: Summary
    second: Summary
    difference: Difference  # second minus first
    basis: str  # what the values are

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `within noise`, or that too few values cannot tell."""
        return VERDICTS.get(self.difference.verdict, self.difference.verdict)

    def as_json(self) -> dict[str, Any]:
        """All of it, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass
class CompareResult:
    """What could be compared, and notes about the rest."""

    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note_unmatched(self, *sides: Sequence[str]) -> None:
        """Note what only A and only B have."""
        for name, only in zip("AB", sides, strict=True):
            if only:
                self.notes.append(f"only in {name}: {', '.join(only)}")


def of_runs(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> CompareResult:
    """Accuracy and throughput of finished runs, setting by setting."""
    result = CompareResult()
    sides: list[dict[str, list[RunRecord]]] = [{}, {}]
    for side, runs, name in zip(sides, (first, second), "AB", strict=True):
        for run in runs:
            if run.finished:
                side.setdefault(setting_key(run), []).append(run)
            else:
                result.notes.append(f"{name}: {run.folder} is {run.status}: left out")
    pairs, *only = _pairs(*sides)
    result.note_unmatched(*([group[0].name for group in groups] for groups in only))
    for ours, theirs in pairs:
        refuse_mixture(ours)
        refuse_mixture(theirs)
        words = differing(ours[0], theirs[0])
        if words:
            result.notes.append(f"{ours[0].name}: A and B differ in {'; '.join(words)}")
        names = dict.fromkeys((ours[0].name, theirs[0].name))
        result.comparisons += measures(" / ".join(names), ours, theirs)
    return result


def of_files(first: Path, second: Path) -> CompareResult:
    """Throughput in two benchmark files: every rate that both have."""
    ours, theirs = dict(_rates(first)), dict(_rates(second))
    result = CompareResult(
        [
            _comparison(name, "throughput", "images/s", ours[name], theirs[name], "turns")
            for name in ours
            if name in theirs
        ]
    )
    result.note_unmatched(
        [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
    )
    return result


def assert_equal(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> int:
    """How many runs have the same losses on both sides; raises if any differ."""
    pairs, *only = _pairs(*(_by_setting_and_seed(runs) for runs in (first, second)))
    if any(only):
        folders = sorted(run.folder for runs in only for run in runs)
        raise RunFailed(f"only on one side: {', '.join(folders)}")
    if not pairs:
        raise UserError("no runs to compare")
    problems = [problem for ours, theirs in pairs for problem in _unequal(ours, theirs)]
    if problems:
        raise RunFailed("\n".join(problems))
    return len(pairs)


def figure(values: Summary, unit: str) -> str:
    """A mean with its standard deviation."""
    digits = ".2f" if unit == "%" else ",.0f"
    std = "" if values.std is None else f" ± {values.std:{digits}}"
    return f"{values.mean:{digits}}{std} {unit} (n = {values.n})"


def change(each: Comparison) -> str:
    """The difference; of a throughput in per cent."""
    if each.unit == "%":
        return f"{each.difference.difference:+.2f} points"
    return f"{100 * each.difference.difference / each.first.mean:+.1f} %"


def interval(each: Comparison) -> str:
    """The difference's interval, in the same unit."""
    low, high = each.difference.low, each.difference.high
    if low is None or high is None:
        return "-"
    if each.unit == "%":
        return f"{low:+.2f} to {high:+.2f}"
    return f"{100 * low / each.first.mean:+.1f} to {100 * high / each.first.mean:+.1f} %"


def _pairs(
    ours: Mapping[Key, Value], theirs: Mapping[Key, Value]
) -> tuple[list[tuple[Value, Value]], list[Value], list[Value]]:
    """What to compare with what, and what only one side has; a single one pairs with any other."""
    if len(ours) == len(theirs) == 1:
        return list(zip(ours.values(), theirs.values(), strict=True)), [], []
    return (
        [(ours[key], theirs[key]) for key in ours if key in theirs],
        [ours[key] for key in ours if key not in theirs],
        [theirs[key] for key in theirs if key not in ours],
    )


def _by_setting_and_seed(runs: Sequence[RunRecord]) -> dict[tuple[str, Any], RunRecord]:
    known: dict[tuple[str, Any], RunRecord] = {}
    for run in runs:
        key = setting_key(run), run["seed"]
        if key in known:
            raise UserError(f"{known[key].folder} and {run.folder}: the same setting and seed")
        known[key] = run
    return known


def differing(ours: RunRecord, theirs: RunRecord, without: str = "") -> list[str]:
    """What is not the same on both sides, so that it is not attributed to what is compared.

    The setting `without` is left out.
    """
    words = conditions_of(ours).differences(conditions_of(theirs))
    settings = settings_of(ours), settings_of(theirs)
    for key in sorted((settings[0].keys() | settings[1].keys()) - {without}):
        if settings[0].get(key) != settings[1].get(key):
            values = [
                json.dumps(each[key], default=str) if key in each else "(absent)"
                for each in settings
            ]
            words.append(f"{key} {values[0]} and {values[1]}")
    for key in ("device", "compiled"):
        if ours.record.get(key) != theirs.record.get(key):
            words.append(f"{key} {ours.record.get(key)} and {theirs.record.get(key)}")
    return words


def measures(
    what: str, ours: Sequence[RunRecord], theirs: Sequence[RunRecord]
) -> Iterator[Comparison]:
    """Accuracy and throughput of two sets of runs."""
    first, second = ([100 * run["test_accuracy"] for run in side] for side in (ours, theirs))
    yield _comparison(what, "test accuracy", "%", first, second, "runs")
    basis = "runs"
    first, second = (
        [run["images_per_second"] for run in side if run["images_per_second"]]
        for side in (ours, theirs)
    )
    if min(len(first), len(second)) < 2:  # a single run still has its epochs
        first, second = (_epoch_rates(side) for side in (ours, theirs))
        basis = "epochs"
    if first and second:
        yield _comparison(what, f"throughput, {basis}", "images/s", first, second, basis)


def _epoch_rates(runs: Sequence[RunRecord]) -> list[float]:
    rates = []
    for run in runs:
        known = [epoch["images_per_second"] for epoch in run.epochs if epoch["images_per_second"]]
        rates += known[1:] or known  # the first holds the warm-up
    return rates


def _comparison(
    what: str, measure: str, unit: str, first: Sequence[float], second: Sequence[float], basis: str
) -> Comparison:
    difference = welch(second, first)
    return Comparison(what, measure, unit, summary(first), summary(second), difference, basis)


def _rates(path: Path) -> Iterator[tuple[str, list[float]]]:
    """The turns of every contender in a file of benchmarks.loader or benchmarks.step."""
    try:
        details = json.loads(files.read_text(path))["details"]
        loaders, pairs = details.get("images_per_second", {}), details.get("pairs", {})
        rates = {name: each["values"] for name, each in loaders.items()}
        if not rates:  # the step's: ours and the other of each pair
            for name, pair in pairs.items():
                variant, _, both = name.partition(": ")
                names = [f"{variant}: {part}" for part in both.split(" / ")]
                for key, side in zip(names, ("first", "second"), strict=True):
                    rates.setdefault(key, []).extend(pair[side])
        for name, values in rates.items():
            yield printable(name), numbers(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: not the JSON of benchmarks.loader or benchmarks.step") from None


def _unequal(ours: RunRecord, theirs: RunRecord) -> Iterator[str]:
    """The first loss that is not the same to the bit."""
    both = f"{ours.folder} and {theirs.folder}"
    if len(ours.epochs) != len(theirs.epochs) or not ours.epochs:
        yield f"{both}: {len(ours.epochs)} and {len(theirs.epochs)} epochs in their logs"
        return
    for one, other in zip(ours.epochs, theirs.epochs, strict=True):
        for key in LOSSES:
            if one[key] != other[key]:
                yield f"{both}: {key} of epoch {one['epoch']} is {one[key]} and {other[key]}"
                return  # the later ones follow from it
