"""From an experiment to its points: runs times axes, each with a name and its settings."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.config.values import Entry, InvalidValue, text_of, value_of
from engine.config.wording import shown
from engine.sweep.experiments import Experiment, ExplicitRun, ReportedAt
from engine.sweep.recipes import Recipe
from engine.sweep.reported import ReportedValue

MOST_POINTS = 10_000  # of one experiment; more is a slip of the pen, not an experiment

_SETTINGS = settings_of(Config)


@dataclass(frozen=True)
class Point:
    """One network trained in one way; with a seed it is a run.

    Its name is such as `0.8/lr=0.05,momentum=0.1`, or `4.1/` where nothing differs: the network's
    name is then added.
    """

    name: str
    place: str
    recipe: Recipe | None
    why: str
    entries: tuple[Entry, ...]  # of the recipe, the file, the experiment, the run, the axes
    differing: tuple[str, ...]  # dotted names of what the run and the axes set
    reported: tuple[ReportedValue, ...]
    notes: tuple[str, ...]
    weights_from: str = ""  # a run's name, as it is written


def points_of(experiment: Experiment, problems: list[str]) -> list[Point]:
    """The points of an experiment, in its order; what is wrong is added to `problems`."""
    runs = experiment.runs or (ExplicitRun(experiment.place),)
    axes = [axis for axis in experiment.axes if axis.entries]
    count = math.prod(len(axis.entries) for axis in axes)
    if count * len(runs) > MOST_POINTS:
        problems.append(
            f"{experiment.place}: axes: {count * len(runs):,} runs of one experiment; "
            f"at most {MOST_POINTS:,}"
        )
        return []
    keys = [axis.key for axis in axes]
    combinations = list(itertools.product(*(axis.entries for axis in axes)))
    points = [_point(experiment, run, keys, values) for run in runs for values in combinations]
    for run in runs:
        if count > 1 and run.reported:
            what = f"belongs to {count} runs; give it under the experiment, with `at:`"
            problems.append(f"{run.reported[0].place}: reported: {what}")
    names = [run.name for run in runs if run.name]
    if len(set(names)) == len(names):  # the reader of the file refuses equal names by itself
        problems += _equal_names(points)
    return _with_reported(experiment.reported, points, problems)


def _point(
    experiment: Experiment, run: ExplicitRun, keys: Sequence[str], values: tuple[Entry, ...]
) -> Point:
    recipe = run.recipe or experiment.recipe
    own_keys = [entry.key for entry in run.entries]
    labels = [run.name] if run.name else [_label(entry, own_keys) for entry in run.entries]
    of_axes = [_label(entry, keys) for entry in values]
    labels += of_axes
    source, names = run.weights_from, {each.name for each in experiment.runs}
    if source and source.removeprefix(f"{experiment.id}/") in names:
        source = ",".join((source, *of_axes))  # that run with the same values of the axes
    return Point(
        f"{experiment.id}/{','.join(labels)}",
        run.place,
        recipe,
        run.why or experiment.why,
        (*(recipe.entries if recipe else ()), *experiment.entries, *run.entries, *values),
        tuple(dict.fromkeys(entry.key for entry in (*run.entries, *values))),
        tuple(each.value for each in run.reported),
        (*experiment.notes, *run.notes),
        source,
    )


def _label(entry: Entry, keys: Sequence[str]) -> str:
    """`lr=0.1`, or a network's name alone; the whole key where its last part is not enough."""
    last = entry.key.rpartition(".")[2]
    raw = entry.raw
    text = "-".join(text_of(item) for item in raw) if isinstance(raw, tuple) else text_of(raw)
    text = text.strip('"').replace("/", "_")
    if entry.key == "model.name":
        return text
    alone = sum(key.rpartition(".")[2] == last for key in set(keys)) <= 1
    return f"{last if alone else entry.key}={text}"


def _equal_names(points: Sequence[Point]) -> list[str]:
    problems = []
    for name, times in Counter(point.name for point in points).items():
        if times > 1:
            first, *_, last = [point.place for point in points if point.name == name]
            where = f"; also at {first}" if last != first else ""
            text = f"{shown(name)}: {times} runs of this name; give each a `name:`{where}"
            problems.append(f"{last}: {text}")
    return problems


def _with_reported(
    reported: Sequence[ReportedAt], points: list[Point], problems: list[str]
) -> list[Point]:
    """The points, each with those of the experiment's reported values that belong to it."""
    added: list[list[ReportedValue]] = [[] for _ in points]
    for each in reported:
        before = len(problems)
        wanted = {entry.key: _wanted(entry, problems) for entry in each.at}
        chosen = [
            index
            for index, point in enumerate(points)
            if all(_value(point, key) in values for key, values in wanted.items())
        ]
        value = each.value
        if value.best_over:
            panel = [points[index] for index in chosen]
            problems += [
                f"{each.place}: best_over: {what}" for what in _wrong_panel(value.best_over, panel)
            ]
            at = ((key, vs[0] if len(vs) == 1 else tuple(vs)) for key, vs in wanted.items())
            value = replace(value, at=tuple(at))
        elif not wanted and len(points) > 1:
            what = f"of {len(points)} runs; say of which, with `at:`"
            problems.append(f"{each.place}: reported: {what}")
        if not chosen and len(problems) == before:
            problems.append(f"{each.place}: reported: no run is at these settings")
        for index in chosen:
            added[index].append(value)
    return [
        replace(point, reported=(*point.reported, *values))
        for point, values in zip(points, added, strict=True)
    ]


def _wanted(entry: Entry, problems: list[str]) -> list[Any]:
    """The values of a setting of `at:`, of which a point has one: a list gives several."""
    setting = _SETTINGS[entry.key]
    several = isinstance(entry.raw, tuple) and not setting.many
    values = []
    for raw in entry.raw if several and isinstance(entry.raw, tuple) else (entry.raw,):
        try:
            values.append(value_of(setting, raw))
        except InvalidValue as error:
            problems.append(entry.problem(error.expected, error.hint))
    return values


def _wrong_panel(best_over: Sequence[str], panel: Sequence[Point]) -> Iterator[str]:
    """What is wrong with the settings that vary in a panel of points."""
    varied = {
        key: len({repr(_value(point, key)) for point in panel}) > 1
        for key in dict.fromkeys(key for point in panel for key in (*point.differing, *best_over))
    }
    for key, varies in varied.items():
        if varies and key not in best_over:
            yield f"{key} varies too among these {len(panel)} runs; add it, or fix it with `at:`"
        elif key in best_over and not varies:
            yield f"{key} is the same in all of these {len(panel)} runs"


def _value(point: Point, key: str) -> Any:
    """What a point sets `key` to, or its default; None where the value is wrong."""
    setting = _SETTINGS[key]
    entries = [entry for entry in point.entries if entry.key == key]
    try:
        return value_of(setting, entries[-1].raw) if entries else setting.default
    except InvalidValue:
        return None
