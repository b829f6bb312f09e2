"""Sweep files: experiments as data, read strictly, every problem with its file and line.

Nothing is computed here: settings stay entries that remember where they were written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.config.schema import Config
from engine.config.settings import Setting, settings_of
from engine.config.values import Entry, InvalidValue, text_of, value_of
from engine.config.wording import did_you_mean, shown
from engine.config.yaml_file import Unreadable, open_document, pairs_of, raw_of
from engine.sweep.experiments import Axis, Experiment, ExplicitRun, SweepFiles
from engine.sweep.nodes import Parts
from engine.sweep.recipes import Recipe, Recipes
from engine.sweep.reported_reader import ELSEWHERE, OF_A_RUN, ReportedReader

DEEPEST_INCLUDE = 20

TOP = ("title", "include", "report", "settings", "seeds", "experiments")
EXPERIMENT = (
    "id", "title", "recipe", "why", "settings", "notes", "seeds", "axes", "runs", "reported",
)  # fmt: skip
RUN = ("name", "recipe", "why", "settings", "weights_from", "notes", "reported")

_SETTINGS = settings_of(Config)


def read_files(paths: Sequence[Path]) -> SweepFiles:
    """The experiments of `paths` and of what they include, each file once; never raises."""
    reader = _Reader()
    for path in paths:
        title = reader.file(path, (), "")
        if title:
            reader.titles.append(title)
    problems = [*reader.problems, *reader.recipes.problems]
    return SweepFiles(reader.titles, reader.experiments, problems)


class _Reader(ReportedReader):
    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.experiments: list[Experiment] = []
        self.recipes = Recipes()
        self.begun: set[str] = set()  # files, by their real path
        self.ids: dict[str, str] = {}  # of experiments: where each stands

    def file(self, path: Path, above: tuple[str, ...], origin: str) -> str:
        """Read one file; returns its title. `above` are the files that include it."""
        real = os.path.realpath(path)
        if real in above or len(above) > DEEPEST_INCLUDE:
            chain = " > ".join(Path(each).name for each in (*above[-3:], real))
            self.problems.append(f"{origin}: include: files that include each other: {chain}")
            return ""
        if real in self.begun:
            return ""
        self.begun.add(real)
        try:
            document = open_document(path)
        except Unreadable as error:
            self.problems.append(f"{origin}: {error}" if origin else str(error))
            return ""
        self.problems += document.problems
        before, self.path = self.path, path
        title = self.top(document.root, (*above, real))
        self.path = before
        return title

    def top(self, node: yaml.Node, above: tuple[str, ...]) -> str:
        parts = self.parts(node, TOP, "a sweep file")
        title = self.text(parts, "title", needed_at=node)
        report = self.text(parts, "report")
        entries = self.entries(parts, "settings")
        seeds = self.seeds(parts, (0,))
        for item in self.items(parts, "include"):
            if name := self.value("include", item, "text"):
                self.file(self.path.parent / name, above, self.at(item))
        if isinstance(node, yaml.MappingNode) and not {"include", "experiments"} & parts.keys():
            self.problem(node, "expected `experiments:`, or `include:` of other files")
        for item in self.items(parts, "experiments"):
            self.experiments.append(self.experiment(item, report, seeds, entries))
        return title

    def experiment(
        self, node: yaml.Node, report: str, seeds: tuple[int, ...], entries: tuple[Entry, ...]
    ) -> Experiment:
        parts = self.parts(node, EXPERIMENT, "an experiment")
        name = self.text(parts, "id", needed_at=node)
        self.check_name(name, "id", self.ids, node)
        names: dict[str, str] = {}
        return Experiment(
            place=self.at(node),
            report=report,
            id=name,
            title=self.text(parts, "title", needed_at=node),
            seeds=self.seeds(parts, seeds),
            recipe=self.recipe(parts),
            why=self.text(parts, "why"),
            entries=entries + self.entries(parts, "settings"),
            notes=self.notes(parts),
            axes=self.axes(parts),
            runs=tuple(self.run(item, names) for item in self.items(parts, "runs")),
            reported=self.reported(parts),
        )

    def run(self, node: yaml.Node, names: dict[str, str]) -> ExplicitRun:
        parts = self.parts(node, RUN, "a run")
        name = self.text(parts, "name")
        self.check_name(name, "name", names, node)
        return ExplicitRun(
            place=self.at(node),
            name=name,
            recipe=self.recipe(parts),
            why=self.text(parts, "why"),
            entries=self.entries(parts, "settings"),
            notes=self.notes(parts),
            reported=self.reported(parts, OF_A_RUN),
            weights_from=self.text(parts, "weights_from"),
        )

    def axes(self, parts: Parts) -> tuple[Axis, ...]:
        node = parts.get("axes")
        if node is None:
            return ()
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, "axes: expected settings, each with a list of values")
            return ()
        axes = []
        for key, line, values in pairs_of(node, self.problem):
            setting = _SETTINGS.get(key)
            if setting is None:
                guess = did_you_mean(key, tuple(_SETTINGS))
                self.problem(line, f"axes: {shown(key)}: no such option{guess}")
            elif key in ELSEWHERE:
                self.problem(line, f"axes: {key}: {ELSEWHERE[key]}")
            elif not isinstance(values, yaml.SequenceNode) or not values.value:
                text = "[]" if isinstance(values, yaml.SequenceNode) else text_of(raw_of(values))
                self.problem(line, f"axes: {key}: expected a list of values, found {text}")
            else:
                axes.append(Axis(key, self.axis_values(setting, values)))
        return tuple(axes)

    def axis_values(self, setting: Setting, values: yaml.SequenceNode) -> tuple[Entry, ...]:
        """The values of an axis, of which no two mean the same."""
        entries, seen = [], list[Any]()
        for item in values.value:
            entry = Entry(setting.key, raw_of(item), self.at(item))
            try:
                value = value_of(setting, entry.raw)
            except InvalidValue as error:
                self.problems.append(entry.problem(error.expected, error.hint))
                continue
            if value in seen:
                self.problem(item, f"axes: {setting.key}: {text_of(entry.raw)} is given twice")
                continue
            seen.append(value)
            entries.append(entry)
        return tuple(entries)

    def recipe(self, parts: Parts) -> Recipe | None:
        name = self.text(parts, "recipe")
        recipe = self.recipes.find(name, self.path) if name else None
        if isinstance(recipe, str):
            self.problem(parts["recipe"], f"recipe: {recipe}")
            return None
        return recipe

    def seeds(self, parts: Parts, default: tuple[int, ...]) -> tuple[int, ...]:
        if "seeds" not in parts:
            return default
        seeds: tuple[int, ...] = self.one(parts, "seeds")
        if not seeds or len(set(seeds)) < len(seeds):
            self.problem(parts["seeds"], "seeds: expected a list of different seeds")
        return seeds

    def notes(self, parts: Parts) -> tuple[str, ...]:
        return tuple(self.value("notes", item, "text") for item in self.items(parts, "notes"))

    def check_name(self, name: str, what: str, known: dict[str, str], node: yaml.Node) -> None:
        """Refuse a name that was given before, or that could not be part of a run's name."""
        if not name:
            return
        if name in known:
            self.problem(node, f"{what}: {shown(name)}: already given at {known[name]}")
        if "/" in name or name != name.strip():
            self.problem(node, f"{what}: {shown(name)}: expected a name without / or outer spaces")
        known.setdefault(name, self.at(node))
