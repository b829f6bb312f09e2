"""Sweep files: experiments as data, read strictly, every problem with its file and line.

Nothing is computed here: what an experiment says becomes an `Experiment`, whose settings are still
entries that remember where they were written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.config.fields import option, section
from engine.config.schema import Config
from engine.config.settings import Setting, sections_of, settings_of
from engine.config.values import Entry, InvalidValue, Scalar, text_of, value_of
from engine.config.wording import did_you_mean, shown
from engine.config.yaml_file import (
    Unreadable,
    line_of,
    open_document,
    pairs_of,
    place,
    raw_of,
    settings_in,
)
from engine.sweep.recipes import Recipe, Recipes
from engine.sweep.sheets import EVIDENCE, STATISTICS, Axis, Claim, Experiment, RunSheet, Sheet

DEEPEST_INCLUDE = 20

TOP = ("title", "include", "report", "settings", "seeds", "experiments")
EXPERIMENT = (
    "id", "title", "recipe", "why", "settings", "notes", "seeds", "axes", "runs", "reported",
)  # fmt: skip
RUN = ("name", "recipe", "why", "settings", "notes", "reported")
REPORTED = ("at", "value", "evidence", "statistic", "note")

ELSEWHERE = {  # settings that a sweep gives by other means
    "train.seed": "seeds belong to `seeds:`, beside the experiments or in one",
    "run.name": "a run's folder is named by its network, seed and fingerprint",
    "run.root": "give it to the command, as --run.root",
}


@dataclass(frozen=True)
class _Words:
    """The plain values of a sweep file, held to limits as settings are."""

    text: str = option("", "a line of text")
    value: float = option(0.0, "an accuracy in percent", low=0.0, high=100.0)
    evidence: str = option("report", "where the number comes from", choices=EVIDENCE)
    statistic: str = option("unknown", "which accuracy it is", choices=STATISTICS)
    seeds: tuple[int, ...] = option((0,), "seeds", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class _Form:
    sweep: _Words = section(_Words)


_FORM = {setting.name: setting for setting in settings_of(_Form).values()}
_SETTINGS, _SECTIONS = settings_of(Config), sections_of(Config)


def read_files(paths: Sequence[Path]) -> Sheet:
    """The experiments of `paths` and of what they include, each file once; never raises."""
    reader = _Reader()
    for path in paths:
        title = reader.file(path, (), "")
        if title:
            reader.sheet.titles.append(title)
    reader.sheet.problems += reader.recipes.problems
    return reader.sheet


class _Reader:
    def __init__(self) -> None:
        self.sheet = Sheet()
        self.recipes = Recipes()
        self.files: set[str] = set()  # read to their end
        self.ids: dict[str, str] = {}  # of experiments: where each stands
        self.path = Path()

    def file(self, path: Path, above: tuple[str, ...], origin: str) -> str:
        """Read one file; returns its title. `above` are the files that include it."""
        real = os.path.realpath(path)
        if real in above or len(above) > DEEPEST_INCLUDE:
            chain = " > ".join(Path(each).name for each in (*above[-3:], real))
            self.sheet.problems.append(f"{origin}: include: files that include each other: {chain}")
            return ""
        if real in self.files:
            return ""
        self.files.add(real)
        try:
            document = open_document(path)
        except Unreadable as error:
            self.sheet.problems.append(f"{origin}: {error}" if origin else str(error))
            return ""
        self.sheet.problems += document.problems
        before, self.path = self.path, path
        title = self.top(document.root, (*above, real))
        self.path = before
        return title

    def top(self, node: yaml.Node, above: tuple[str, ...]) -> str:
        parts = self.fields(node, TOP, "a sweep file")
        title = self.text(parts, "title", needed_at=node)
        report = self.text(parts, "report")
        entries = self.settings(parts)
        seeds = self.seeds(parts, (0,))
        for item in self.items(parts, "include"):
            name = self.plain("include", item, "text")
            if name:
                here = self.path
                self.file(here.parent / name, above, self.at(item))
                self.path = here
        told = not isinstance(node, yaml.MappingNode)
        if not told and not {"include", "experiments"} & parts.keys():
            self.problem(line_of(node), "expected `experiments:`, or `include:` of other files")
        for item in self.items(parts, "experiments"):
            self.experiment(item, report, seeds, entries)
        return title

    def experiment(
        self, node: yaml.Node, report: str, seeds: tuple[int, ...], entries: list[Entry]
    ) -> None:
        parts = self.fields(node, EXPERIMENT, "an experiment")
        made = Experiment(self.at(node), report, self.seeds(parts, seeds), list(entries))
        made.id = self.text(parts, "id", needed_at=node)
        made.title = self.text(parts, "title", needed_at=node)
        self.named(made.id, "id", self.ids, self.at(node))
        made.recipe, made.why = self.recipe(parts), self.text(parts, "why")
        made.entries += self.settings(parts)
        made.notes = self.notes(parts)
        made.axes = self.axes(parts)
        names: dict[str, str] = {}
        for item in self.items(parts, "runs"):
            run = self.run(item)
            self.named(run.name, "name", names, self.at(item))
            made.runs.append(run)
        made.claims = [self.claim(item, within_run=False) for item in self.items(parts, "reported")]
        self.sheet.experiments.append(made)

    def run(self, node: yaml.Node) -> RunSheet:
        parts = self.fields(node, RUN, "a run")
        return RunSheet(
            self.at(node),
            self.text(parts, "name"),
            self.recipe(parts),
            self.text(parts, "why"),
            self.settings(parts),
            self.notes(parts),
            [self.claim(item, within_run=True) for item in self.items(parts, "reported")],
        )

    def claim(self, node: yaml.Node, *, within_run: bool) -> Claim:
        known = REPORTED[1:] if within_run else REPORTED
        parts = self.fields(node, known, "a reported value")
        if "value" not in parts and isinstance(node, yaml.MappingNode):
            self.problem(line_of(node), "value: missing; a claim without a number is a note")
        at: list[Entry] = []
        if "at" in parts:
            at = self.entries("at", parts["at"])
        return Claim(
            self.one(parts, "value"),
            self.one(parts, "evidence"),
            self.one(parts, "statistic"),
            self.text(parts, "note"),
            tuple(at),
            self.at(node),
        )

    def axes(self, parts: dict[str, yaml.Node]) -> list[Axis]:
        node = parts.get("axes")
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            self.problem(line_of(node), "axes: expected settings, each with a list of values")
            return []
        made = []
        for key, line, values in pairs_of(node, self.problem):
            setting = _SETTINGS.get(key)
            if setting is None:
                self.problem(line, f"axes: {shown(key)}: no such option{did_you_mean(key, _KEYS)}")
            elif key in ELSEWHERE:
                self.problem(line, f"axes: {key}: {ELSEWHERE[key]}")
            elif not isinstance(values, yaml.SequenceNode) or not values.value:
                what = (
                    text_of(raw_of(values)) if not isinstance(values, yaml.SequenceNode) else "[]"
                )
                self.problem(line, f"axes: {key}: expected a list of values, found {what}")
            else:
                made.append(Axis(key, self.axis_values(setting, values), place(self.path, line)))
        return made

    def axis_values(self, setting: Setting, values: yaml.SequenceNode) -> tuple[Entry, ...]:
        """The values of an axis, of which no two mean the same."""
        entries, seen = [], list[Any]()
        for item in values.value:
            entry = Entry(setting.key, raw_of(item), self.at(item))
            try:
                value = value_of(setting, entry.raw)
            except InvalidValue as error:
                self.sheet.problems.append(entry.problem(error.expected, error.hint))
                continue
            if value in seen:
                text = text_of(entry.raw)
                self.problem(line_of(item), f"axes: {setting.key}: {text} is given twice")
                continue
            seen.append(value)
            entries.append(entry)
        return tuple(entries)

    def settings(self, parts: dict[str, yaml.Node]) -> list[Entry]:
        return self.entries("settings", parts["settings"]) if "settings" in parts else []

    def entries(self, name: str, node: yaml.Node) -> list[Entry]:
        """Settings, nested or dotted; those that a sweep gives by other means are refused."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(line_of(node), f"{name}: expected settings, indented below it")
            return []
        content = settings_in(node, self.path, _SETTINGS, _SECTIONS)
        self.sheet.problems += content.problems
        for entry in content.entries:
            if entry.key in ELSEWHERE:
                self.sheet.problems.append(f"{entry.origin}: {entry.key}: {ELSEWHERE[entry.key]}")
        return [entry for entry in content.entries if entry.key not in ELSEWHERE]

    def recipe(self, parts: dict[str, yaml.Node]) -> Recipe | None:
        name = self.text(parts, "recipe")
        if not name:
            return None
        known = self.recipes.find(name, self.path)
        if isinstance(known, str):
            self.problem(line_of(parts["recipe"]), f"recipe: {known}")
            return None
        return known

    def seeds(self, parts: dict[str, yaml.Node], default: tuple[int, ...]) -> tuple[int, ...]:
        if "seeds" not in parts:
            return default
        seeds: tuple[int, ...] = self.plain("seeds", parts["seeds"], "seeds")
        if not seeds or len(set(seeds)) < len(seeds):
            self.problem(line_of(parts["seeds"]), "seeds: expected a list of different seeds")
        return seeds

    def notes(self, parts: dict[str, yaml.Node]) -> list[str]:
        return [self.plain("notes", item, "text") for item in self.items(parts, "notes")]

    def named(self, name: str, what: str, known: dict[str, str], origin: str) -> None:
        """Refuse a name that was given before, or that could not be part of a run's name."""
        if not name:
            return
        if name in known:
            where = f"already given at {known[name]}"
            self.sheet.problems.append(f"{origin}: {what}: {shown(name)}: {where}")
        if "/" in name or name != name.strip():
            self.sheet.problems.append(f"{origin}: {what}: {shown(name)}: a name is without /")
        known.setdefault(name, origin)

    def fields(self, node: yaml.Node, known: Sequence[str], what: str) -> dict[str, yaml.Node]:
        """The parts of a mapping by name; unknown ones are problems."""
        if not isinstance(node, yaml.MappingNode):
            names = ", ".join(known[:3])
            self.problem(line_of(node), f"expected {what}, with {names} and so on")
            return {}
        parts = {}
        for name, line, value in pairs_of(node, self.problem):
            if name not in known:
                hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
                self.problem(line, f"{shown(name)}: {what} has no such part{hint}")
            else:
                parts[name] = value
        return parts

    def items(self, parts: dict[str, yaml.Node], name: str) -> list[yaml.Node]:
        """The entries of a list, none where it is not given."""
        node = parts.get(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.problem(line_of(node), f"{name}: expected a list, each entry begun with a dash")
            return []
        return list(node.value)

    def text(
        self, parts: dict[str, yaml.Node], name: str, needed_at: yaml.Node | None = None
    ) -> str:
        if name in parts:
            text: str = self.plain(name, parts[name], "text")
            if needed_at is not None and raw_of(parts[name]) == Scalar("", quoted=True):
                self.problem(line_of(parts[name]), f"{name}: empty; expected a text")
            return text
        if isinstance(needed_at, yaml.MappingNode):
            self.problem(line_of(needed_at), f"{name}: missing; expected a text")
        return ""

    def one(self, parts: dict[str, yaml.Node], name: str) -> Any:
        """The value `name`, or its default."""
        return self.plain(name, parts[name], name) if name in parts else _FORM[name].default

    def plain(self, name: str, node: yaml.Node, form: str) -> Any:
        """One plain value, or its default where it is wrong."""
        raw, setting = raw_of(node), _FORM[form]
        if form == "text" and isinstance(raw, Scalar):  # folded texts end with a line break
            raw = Scalar(" ".join(raw.text.split()), raw.quoted, raw.is_text)
        try:
            return value_of(setting, raw)
        except InvalidValue as error:
            hint = f"expected {setting.expected}, found {text_of(raw)}{error.hint}"
            self.problem(line_of(node), f"{name}: {hint}")
            return setting.default

    def at(self, node: yaml.Node) -> str:
        return place(self.path, line_of(node))

    def problem(self, line: int, message: str) -> None:
        self.sheet.problems.append(f"{place(self.path, line)}: {message}")


_KEYS = tuple(_SETTINGS)
