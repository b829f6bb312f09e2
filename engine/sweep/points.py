"""From an experiment to its points: runs times axes, each with a name, settings and claims."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.config.values import Entry, InvalidValue, text_of, value_of
from engine.config.wording import shown
from engine.sweep.recipes import Recipe
from engine.sweep.sheets import Claim, Experiment, RunSheet

MOST_POINTS = 10_000  # of one experiment; more is a slip of the pen, not an experiment

_SETTINGS = settings_of(Config)


@dataclass(frozen=True)
class Point:
    """One network trained in one way; with a seed it is a run."""

    name: (
        str  # `0.8/lr=0.05,momentum=0.1`; `4.1/` where nothing differs: the network's name follows
    )
    place: str
    recipe: Recipe | None
    why: str
    entries: tuple[Entry, ...]  # of the recipe, the file, the experiment, the run, the axes
    differing: tuple[str, ...]  # dotted names of what the run and the axes set
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]


def points_of(experiment: Experiment, problems: list[str]) -> list[Point]:
    """The points of an experiment, in its order; what is wrong is added to `problems`."""
    sheets = experiment.runs or [RunSheet(experiment.place)]
    axes = [axis for axis in experiment.axes if axis.entries]
    count = math.prod(len(axis.entries) for axis in axes)
    if count * len(sheets) > MOST_POINTS:
        problems.append(
            f"{experiment.place}: axes: {count * len(sheets):,} runs of one experiment; "
            f"at most {MOST_POINTS:,}"
        )
        return []
    keys = [axis.key for axis in axes]
    choices = list(itertools.product(*(axis.entries for axis in axes)))
    points = [_point(experiment, sheet, keys, choice) for sheet in sheets for choice in choices]
    for sheet in sheets:
        if count > 1 and sheet.claims:
            what = f"belongs to {count} runs; give it under the experiment, with `at:`"
            problems.append(f"{sheet.claims[0].place}: reported: {what}")
    given = [sheet.name for sheet in sheets if sheet.name]
    names = Counter(point.name for point in points)
    if len(set(given)) < len(given):  # which the file's reader has told
        names.clear()
    for name, times in names.items():
        places = [point.place for point in points if point.name == name]
        if times > 1:
            where = f"; also at {places[0]}" if places[-1] != places[0] else ""
            text = f"{shown(name)}: {times} runs of this name; give each a `name:`{where}"
            problems.append(f"{places[-1]}: {text}")
    return _with_claims(experiment, points, problems)


def _point(
    experiment: Experiment, sheet: RunSheet, keys: Sequence[str], choice: tuple[Entry, ...]
) -> Point:
    recipe = sheet.recipe or experiment.recipe
    given = () if recipe is None else recipe.entries
    label = [sheet.name or _default_name(sheet.entries)] if experiment.runs else []
    label += [_named(entry, keys) for entry in choice]
    differing = dict.fromkeys(entry.key for entry in (*sheet.entries, *choice))
    name = ",".join(part for part in label if part)
    return Point(
        f"{experiment.id}/{name}",
        sheet.place,
        recipe,
        sheet.why or experiment.why,
        (*given, *experiment.entries, *sheet.entries, *choice),
        tuple(differing),
        tuple(sheet.claims),
        (*experiment.notes, *sheet.notes),
    )


def _default_name(entries: Sequence[Entry]) -> str:
    keys = [entry.key for entry in entries]
    return ",".join(_named(entry, keys) for entry in entries)


def _named(entry: Entry, keys: Sequence[str]) -> str:
    """`lr=0.1`, or a network's name alone; the whole key where its last part is not enough."""
    last = entry.key.rpartition(".")[2]
    raw = entry.raw
    text = "-".join(text_of(item) for item in raw) if isinstance(raw, tuple) else text_of(raw)
    text = text.strip('"').replace("/", "_")
    if entry.key == "model.name":
        return text
    alone = sum(key.rpartition(".")[2] == last for key in set(keys)) <= 1
    return f"{last if alone else entry.key}={text}"


def _with_claims(experiment: Experiment, points: list[Point], problems: list[str]) -> list[Point]:
    """The points with those of the experiment's claims that belong to them."""
    extra: list[list[Claim]] = [[] for _ in points]
    for claim in experiment.claims:
        belongs = _belongs(claim, points, problems)
        if belongs == [] and not _wrong(claim):
            problems.append(f"{claim.place}: reported: no run is at these settings")
        if not claim.at and len(points) > 1:
            what = f"of {len(points)} runs; say of which, with `at:`"
            problems.append(f"{claim.place}: reported: {what}")
        for index in belongs:
            extra[index].append(claim)
    return [
        _claiming(point, claims) if claims else point
        for point, claims in zip(points, extra, strict=True)
    ]


def _belongs(claim: Claim, points: list[Point], problems: list[str]) -> list[int]:
    wanted: dict[str, Any] = {}
    for entry in claim.at:
        try:
            wanted[entry.key] = value_of(_SETTINGS[entry.key], entry.raw)
        except InvalidValue as error:
            problems.append(entry.problem(error.expected, error.hint))
            return []
    return [
        index
        for index, point in enumerate(points)
        if all(_value(point, key) == value for key, value in wanted.items())
    ]


def _wrong(claim: Claim) -> bool:
    for entry in claim.at:
        try:
            value_of(_SETTINGS[entry.key], entry.raw)
        except InvalidValue:
            return True
    return False


def _value(point: Point, key: str) -> Any:
    """What a point sets `key` to, or its default."""
    entries = [entry for entry in point.entries if entry.key == key]
    try:
        return value_of(_SETTINGS[key], entries[-1].raw) if entries else _SETTINGS[key].default
    except InvalidValue:
        return None


def _claiming(point: Point, claims: list[Claim]) -> Point:
    return Point(
        point.name, point.place, point.recipe, point.why, point.entries, point.differing,
        (*point.claims, *claims), point.notes,
    )  # fmt: skip
