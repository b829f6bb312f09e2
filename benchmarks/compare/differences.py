"""How two sets of measurements differ, and whether that is more than noise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records.conditions import conditions_of, refuse_mixture
from benchmarks.records.runs import RunFile
from benchmarks.records.untrusted import clean
from engine.errors import RunFailed, UserError
from engine.statistics import Difference, Summary, summary, welch

LOSSES = ("train_loss", "test_loss", "validation_loss")
# What tells runs of one setting apart, and where they lie.
APART = ("train.seed", "run.", "checkpoint.", "data.mode", "runtime.threads", "runtime.cache")
# Other paths may lead to the same data, which its digest tells.
PLACES = ("data.train", "data.test")
WORDS = {"higher": "better", "lower": "worse"}


@dataclass(frozen=True)
class Comparison:
    """One measure of one thing on both sides; more is better."""

    what: str
    measure: str
    unit: str  # %, or images/s
    first: Summary
    second: Summary
    difference: Difference  # of the second less the first
    basis: str  # what the values are

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `within noise`, or that one value a side cannot tell."""
        found = self.difference.verdict
        if found == "cannot tell":
            return "cannot tell: needs two values a side"
        return WORDS.get(found, found)

    def as_json(self) -> dict[str, Any]:
        """All of it, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass
class Found:
    """The comparisons that could be made, and what else is to be said."""

    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def of_runs(first: Sequence[RunFile], second: Sequence[RunFile]) -> Found:
    """Accuracy and throughput of finished runs, setting by setting."""
    found = Found()
    sides = [_by_setting(runs, found, name) for runs, name in ((first, "A"), (second, "B"))]
    if all(len(side) == 1 for side in sides):
        pairs = [(next(iter(sides[0].values())), next(iter(sides[1].values())))]
    else:
        pairs = [(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]]
        for side, other, name in ((sides[0], sides[1], "A"), (sides[1], sides[0], "B")):
            alone = [_name(runs) for key, runs in side.items() if key not in other]
            if alone:
                found.notes.append(f"only in {name}: {', '.join(alone)}")
    for ours, theirs in pairs:
        for runs in (ours, theirs):
            refuse_mixture(runs)
        found.notes += _differing(ours, theirs)
        what = _name(ours) if _name(ours) == _name(theirs) else f"{_name(ours)} / {_name(theirs)}"
        found.comparisons += _measures(what, ours, theirs)
    return found


def of_files(first: Path, second: Path) -> Found:
    """Throughput of two benchmark files: every rate that both have."""
    found = Found()
    sides = [dict(_rates(path)) for path in (first, second)]
    for name in sides[0]:
        if name in sides[1]:
            found.comparisons.append(
                _comparison(name, "throughput", "images/s", sides[0][name], sides[1][name], "turns")
            )
    for number, name in ((0, "A"), (1, "B")):
        alone = [key for key in sides[number] if key not in sides[1 - number]]
        if alone:
            found.notes.append(f"only in {name}: {', '.join(alone)}")
    return found


def assert_equal(first: Sequence[RunFile], second: Sequence[RunFile]) -> int:
    """How many runs have the same losses on both sides; raises where any differs."""
    sides = [_by_seed(runs) for runs in (first, second)]
    if all(len(side) == 1 for side in sides):
        pairs = [(next(iter(sides[0].values())), next(iter(sides[1].values())))]
    else:
        lone = sorted(
            (sides[0].get(key) or sides[1][key]).folder for key in sides[0].keys() ^ sides[1].keys()
        )
        if lone:
            raise RunFailed(f"only on one side: {', '.join(lone)}")
        pairs = [(sides[0][key], sides[1][key]) for key in sides[0]]
    if not pairs:
        raise UserError("no runs to compare")
    wrong = [problem for ours, theirs in pairs for problem in _unequal(ours, theirs)]
    if wrong:
        raise RunFailed("\n".join(wrong))
    return len(pairs)


def figure(found: Summary, unit: str) -> str:
    """A mean with its spread."""
    digits = ".2f" if unit == "%" else ",.0f"
    spread = "" if found.std is None else f" ± {found.std:{digits}}"
    return f"{found.mean:{digits}}{spread} {unit} (n = {found.n})"


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


def _by_setting(runs: Sequence[RunFile], found: Found, side: str) -> dict[str, list[RunFile]]:
    groups: dict[str, list[RunFile]] = {}
    for run in runs:
        if run.finished:
            groups.setdefault(_setting(run), []).append(run)
        else:
            found.notes.append(f"{side}: {run.folder} is {run.status}: left out")
    return groups


def _by_seed(runs: Sequence[RunFile]) -> dict[tuple[str, Any], RunFile]:
    found: dict[tuple[str, Any], RunFile] = {}
    for run in runs:
        key = _setting(run), run["seed"]
        if key in found:
            raise UserError(f"{found[key].folder} and {run.folder}: the same setting and seed")
        found[key] = run
    return found


def _setting(run: RunFile) -> str:
    left_out = (*APART, *PLACES)
    settings = {k: v for k, v in run.config.items() if not k.startswith(left_out)}
    settings |= {"variant": run["variant"], "data": run["data_digest"]}
    return json.dumps(settings, sort_keys=True, default=str)


def _name(runs: Sequence[RunFile]) -> str:
    return runs[0]["variant"] or runs[0].folder


def _differing(ours: Sequence[RunFile], theirs: Sequence[RunFile]) -> Iterator[str]:
    """What is not the same on both sides, so that nobody takes it for the code's doing."""
    unlike = conditions_of(ours[0]).differs(conditions_of(theirs[0]))
    configs = ours[0].config, theirs[0].config
    keys = sorted(configs[0].keys() | configs[1].keys())
    unlike += [
        f"{key} {_shown(configs[0], key)} and {_shown(configs[1], key)}"
        for key in keys
        if not key.startswith((*APART, *PLACES)) and configs[0].get(key) != configs[1].get(key)
    ]
    for key in ("device", "compiled"):
        values = [side[0].record.get(key) for side in (ours, theirs)]
        if values[0] != values[1]:
            unlike.append(f"{key} {values[0]} and {values[1]}")
    if unlike:
        yield f"{_name(ours)}: A and B differ in {'; '.join(unlike)}"


def _shown(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key], default=str) if key in config else "(absent)"


def _measures(
    what: str, ours: Sequence[RunFile], theirs: Sequence[RunFile]
) -> Iterator[Comparison]:
    first, second = ([100 * run["test_accuracy"] for run in side] for side in (ours, theirs))
    yield _comparison(what, "test accuracy", "%", first, second, "runs")
    first, second = (_run_rates(side) for side in (ours, theirs))
    basis = "runs"
    if min(len(first), len(second)) < 2:  # one run still has its epochs
        first, second = (_epoch_rates(side) for side in (ours, theirs))
        basis = "epochs"
    if first and second:
        yield _comparison(what, f"throughput, {basis}", "images/s", first, second, basis)


def _run_rates(runs: Sequence[RunFile]) -> list[float]:
    return [run["images_per_second"] for run in runs if run["images_per_second"]]


def _epoch_rates(runs: Sequence[RunFile]) -> list[float]:
    rates = []
    for run in runs:
        known = [line["images_per_second"] for line in run.epochs if line["images_per_second"]]
        rates += known[1:] or known  # the first holds the warm-up
    return rates


def _comparison(
    what: str, measure: str, unit: str, first: Sequence[float], second: Sequence[float], basis: str
) -> Comparison:
    difference = welch(second, first)
    return Comparison(what, measure, unit, summary(first), summary(second), difference, basis)


def _rates(path: Path) -> Iterator[tuple[str, list[float]]]:
    """The turns of every contender of a loader's or a step's file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        details = content["details"]
        loaders, pairs = details.get("images_per_second", {}), details.get("pairs", {})
        rates = {name: each["values"] for name, each in loaders.items()}
        if not rates:  # the step's: ours and the other of each pair
            for name, pair in pairs.items():
                variant, _, both = name.partition(": ")
                names = [f"{variant}: {part}" for part in both.split(" / ")]
                for key, side in zip(names, ("first", "second"), strict=True):
                    rates.setdefault(key, []).extend(pair[side])
        for name, values in rates.items():
            yield clean(name), [float(value) for value in values]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: not the JSON of benchmarks.loader or benchmarks.step") from None


def _unequal(ours: RunFile, theirs: RunFile) -> Iterator[str]:
    both = f"{ours.folder} and {theirs.folder}"
    if len(ours.epochs) != len(theirs.epochs) or not ours.epochs:
        yield f"{both}: {len(ours.epochs)} and {len(theirs.epochs)} epochs in their logs"
        return
    for one, other in zip(ours.epochs, theirs.epochs, strict=True):
        for key in LOSSES:
            if one[key] != other[key]:
                yield f"{both}: {key} of epoch {one['epoch']} is {one[key]} and {other[key]}"
                return  # what follows from it is no news
