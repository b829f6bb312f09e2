"""What sweep files contain, as it was written: settings are entries that know their line."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.values import Entry
from engine.sweep.recipes import Recipe
from engine.sweep.reported import ReportedValue


@dataclass(frozen=True)
class ReportedAt:
    """A reported value where it is written."""

    value: ReportedValue
    at: tuple[Entry, ...]  # the settings of the points that it belongs to
    place: str


@dataclass(frozen=True)
class Axis:
    """One setting and the values that it takes."""

    key: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class ExplicitRun:
    """One entry of an experiment's `runs:`."""

    place: str
    name: str = ""
    recipe: Recipe | None = None
    why: str = ""
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()
    reported: tuple[ReportedAt, ...] = ()
    weights_from: str = ""  # the run that it starts from


@dataclass(frozen=True)
class Experiment:
    """One experiment, before axes are multiplied and settings merged."""

    place: str
    report: str
    id: str
    title: str
    seeds: tuple[int, ...]
    recipe: Recipe | None
    why: str
    entries: tuple[Entry, ...]  # the file's settings, then its own
    notes: tuple[str, ...]
    axes: tuple[Axis, ...]
    runs: tuple[ExplicitRun, ...]
    reported: tuple[ReportedAt, ...]


@dataclass(frozen=True)
class SweepFiles:
    """The content of all sweep files, and what is wrong with them."""

    titles: list[str]  # of the files named on the command line
    experiments: list[Experiment]
    problems: list[str]
