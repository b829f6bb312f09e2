"""What sweep files say, still as it was written: settings are entries that know their line."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.config.values import Entry
from engine.sweep.recipes import Recipe

EVIDENCE = ("report", "log", "ancestor", "quoted")
STATISTICS = ("best", "last", "moving", "batchmean", "validation_best", "unknown")


@dataclass(frozen=True)
class Claim:
    """A number that a report gives."""

    value: float
    evidence: str
    statistic: str
    note: str
    at: tuple[Entry, ...]  # which of an experiment's points it belongs to
    place: str


@dataclass(frozen=True)
class Axis:
    """One setting and the values that it takes."""

    key: str
    entries: tuple[Entry, ...]
    place: str


@dataclass
class RunSheet:
    """One explicit run of an experiment."""

    place: str
    name: str = ""
    recipe: Recipe | None = None
    why: str = ""
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


@dataclass
class Experiment:
    """What an experiment says, before axes are multiplied and settings merged."""

    place: str
    report: str
    seeds: tuple[int, ...]
    entries: list[Entry]  # the file's settings, then its own
    id: str = ""
    title: str = ""
    recipe: Recipe | None = None
    why: str = ""
    notes: list[str] = field(default_factory=list)
    axes: list[Axis] = field(default_factory=list)
    runs: list[RunSheet] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


@dataclass
class Sheet:
    """All that the sweep files hold, and what is wrong with them."""

    titles: list[str] = field(default_factory=list)  # of the files that were named
    experiments: list[Experiment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
