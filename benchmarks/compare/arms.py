"""The runs of one folder, compared by the values of a setting or by the runs of a sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare.differences import CompareResult, differing, measures
from benchmarks.records import plans
from benchmarks.records.conditions import DATA_PATHS, refuse_mixture, settings_of
from benchmarks.records.runs import RunRecord, read
from benchmarks.records.untrusted import printable
from engine.config.schema import Config
from engine.config.settings import settings_of as settings_of_config
from engine.config.wording import did_you_mean
from engine.errors import UserError

RUN = "run"  # by the runs of sweeps, as their plans name them
SEED = "train.seed"
NAMED_BY_THE_VARIANT = ("model.init", "model.weights")  # settings of `model` that are not


@dataclass
class Group:
    """Runs that differ in their arm and their seed only; arms in the order of `reference` first."""

    name: str
    label: str  # before an arm: a setting's name, or nothing
    arms: dict[str, list[RunRecord]] = field(default_factory=dict)


def of_arms(root: Path, by: str) -> CompareResult:
    """Each arm of every group with the group's reference, the default or else the first."""
    result = CompareResult()
    finished = []
    for run in read(root):
        if run.finished:
            finished.append(run)
        else:
            result.notes.append(f"{run.folder} is {run.status}: left out")
    groups = _by_run(root, finished, result) if by == RUN else _by_setting(finished, by)
    for group in groups:
        for runs in group.arms.values():
            refuse_mixture(runs)
        (reference, first), *others = group.arms.items()
        if not others:
            what = " ".join(filter(None, (group.label, reference)))
            result.notes.append(f"{group.name}: only {what}, nothing to compare it with")
        for arm, second in others:
            arms = f"{reference} -> {arm}"
            what = f"{group.name}: {' '.join(filter(None, (group.label, arms)))}"
            if words := differing(first[0], second[0], without=by):
                result.notes.append(f"{what}: they also differ in {'; '.join(words)}")
            result.comparisons += measures(what, first, second)
    if len(result.comparisons) > 20:
        result.notes.append(
            "of 20 comparisons without any difference, one is expected to be called better or worse"
        )
    return result


def _by_setting(runs: Sequence[RunRecord], by: str) -> list[Group]:
    """A group for each combination of all other settings, with an arm per value of `by`."""
    settings = settings_of_config(Config)
    if by == SEED:
        raise UserError(f"--by {by}: runs that differ in their seed repeat one another")
    if by not in settings:
        guess = did_you_mean(by, [*settings, RUN])
        raise UserError(f"--by {by}: no such setting{guess or '; `run` takes the runs of sweeps'}")
    default = settings[by].default
    others: dict[str, dict[str, Any]] = {}  # the other settings of each group, by their text
    values: dict[str, Any] = {}
    arms: dict[str, dict[str, list[RunRecord]]] = {}
    for run in runs:
        value = run.config.get(by, default)
        text = _text(value)
        values[text] = value
        rest = _others(run, by)
        key = json.dumps(rest, sort_keys=True, default=str)
        others[key] = rest
        arms.setdefault(key, {}).setdefault(text, []).append(run)
    order = sorted(values, key=lambda text: _order(values[text]))
    order.sort(key=lambda text: text != _text(default))  # the reference first
    if len(arms) > 1 and all(len(each) == 1 for each in arms.values()) and len(values) == len(arms):
        # Each arm has a single setting: they are compared, and what else differs is noted.
        arms = {"": {text: each for group in arms.values() for text, each in group.items()}}
        others = {"": {}}
    names = _names(arms, others)
    return [
        Group(names[key], by, {text: group[text] for text in order if text in group})
        for key, group in arms.items()
    ]


def _others(run: RunRecord, by: str) -> dict[str, Any]:
    """All that decides a run's result besides `by`."""
    rest = {key: value for key, value in settings_of(run).items() if key != by}
    if not by.startswith("model."):
        rest["variant"] = run["variant"]
    if by not in DATA_PATHS:
        rest["data"] = run.record.get("data_digests") or [run.config.get(key) for key in DATA_PATHS]
    return rest


def _names(
    arms: Mapping[str, Mapping[str, Sequence[RunRecord]]], others: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Each group by its network and the settings in which the groups differ."""
    keys = dict.fromkeys(key for rest in others.values() for key in rest)
    varying = [
        key
        for key in keys
        if len({_text(rest.get(key)) for rest in others.values()}) > 1
        and (not key.startswith("model.") or key.startswith(NAMED_BY_THE_VARIANT))
        and key not in ("variant", "data")
    ]
    names = {}
    for key, rest in others.items():
        networks = dict.fromkeys(run.name for runs in arms[key].values() for run in runs)
        network = " / ".join(networks) if len(networks) < 3 else f"{len(networks)} networks"
        settings = [f"{each}={_text(rest[each])}" for each in varying if each in rest]
        names[key] = ", ".join([network, *settings])
    return names


def _by_run(root: Path, runs: Sequence[RunRecord], result: CompareResult) -> Iterator[Group]:
    """A group for each experiment of each sweep in `root`, with an arm per run of its plan."""
    known = plans.read(root)
    if not known.entries:
        raise UserError(
            f"{root}: has no plan of a sweep; name a setting, such as --by augment.cutout"
        )
    records: dict[str, list[RunRecord]] = {}
    for run in runs:
        records.setdefault(run["fingerprint"] or "", []).append(run)
    planned: set[str] = set()
    groups: dict[tuple[object, ...], Group] = {}
    for entry in known.entries:
        key = (entry.sweep, entry.scale, entry.limit, entry.experiment)
        group = groups.setdefault(key, Group(f"{entry.sweep} {entry.heading}", ""))
        planned.add(entry.fingerprint)
        if entry.fingerprint in records:
            group.arms.setdefault(entry.label, []).append(records[entry.fingerprint][0])
    result.notes += known.problems
    result.notes += [
        f"{run.folder} is in no plan of a sweep: left out"
        for run in runs
        if run["fingerprint"] not in planned
    ]
    return (group for group in groups.values() if group.arms)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return printable(value) or '""'
    return printable(json.dumps(list(value) if isinstance(value, tuple) else value, default=str))


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, then all else by its text."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return not number, float(value) if number else 0.0, _text(value)
