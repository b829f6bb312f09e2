"""Reading the nodes of sweep files: every problem is kept with its file and line, none raised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.config.fields import option, section
from engine.config.settings import settings_of
from engine.config.values import InvalidValue, Scalar, text_of, value_of
from engine.config.wording import did_you_mean, shown
from engine.config.yaml_file import line_of, pairs_of, place, raw_of
from engine.sweep.reported import (
    ESTIMATORS,
    EVIDENCE,
    MEASURES,
    READINGS,
    RUNS,
    SELECTIONS,
    STATISTICS,
)

Parts = dict[str, yaml.Node]  # of a mapping, by name


@dataclass(frozen=True)
class _Values:
    """The plain values of a sweep file, checked as settings are."""

    text: str = option("", "a line of text")
    value: float = option(0.0, "a reported number", low=0.0)
    evidence: str = option("report", "where the number comes from", choices=EVIDENCE)
    statistic: str = option("unknown", "which epochs it is of", choices=STATISTICS)
    measure: str = option("test_accuracy", "what it measures", choices=MEASURES)
    epoch: int | None = option(None, "the epoch that it is of", low=1)
    until: int | None = option(None, "the epochs that it is of", low=1)
    selection: str = option("none", "how its weights were chosen", choices=SELECTIONS)
    estimator: str = option("exact", "how it was computed", choices=ESTIMATORS)
    read: str = option("printed", "how it was read", choices=READINGS)
    precision: float | None = option(None, "how far it may be off", low=0.0, above=True)
    run: str = option("planned", "whether it is of a planned run", choices=RUNS)
    seeds: tuple[int, ...] = option((0,), "seeds", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class _SweepFile:
    sweep: _Values = section(_Values)


_VALUES = {setting.name: setting for setting in settings_of(_SweepFile).values()}


class NodeReader:
    """Reads nodes of the file `path`; what is wrong with them is added to `problems`."""

    def __init__(self) -> None:
        self.path = Path()
        self.problems: list[str] = []

    def parts(self, node: yaml.Node, known: Sequence[str], what: str) -> Parts:
        """The parts of a mapping by name; unknown ones are problems."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"expected {what}, with {', '.join(known[:3])} and so on")
            return {}
        parts = {}
        for name, line, value in pairs_of(node, self.problem):
            if name in known:
                parts[name] = value
            else:
                hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
                self.problem(line, f"{shown(name)}: no such key in {what}{hint}")
        return parts

    def one(self, parts: Parts, name: str) -> Any:
        """The value `name`, or its default where it is not given."""
        return self.value(name, parts[name], name) if name in parts else _VALUES[name].default

    def items(self, parts: Parts, name: str) -> list[yaml.Node]:
        """The entries of a list, none where it is not given."""
        node = parts.get(name)
        if node is None or isinstance(node, yaml.SequenceNode):
            return [] if node is None else list(node.value)
        self.problem(node, f"{name}: expected a list, each entry begun with a dash")
        return []

    def text(self, parts: Parts, name: str, needed_at: yaml.Node | None = None) -> str:
        """The text `name`, empty where it is not given; `needed_at` is a mapping that needs it."""
        if name in parts:
            text: str = self.value(name, parts[name], "text")
            if needed_at is not None and raw_of(parts[name]) == Scalar("", quoted=True):
                self.problem(parts[name], f"{name}: empty; expected a text")
            return text
        if isinstance(needed_at, yaml.MappingNode):
            self.problem(needed_at, f"{name}: missing; expected a text")
        return ""

    def value(self, name: str, node: yaml.Node, kind: str) -> Any:
        """The plain value of a node as `kind` says, or its default where it is wrong."""
        raw, setting = raw_of(node), _VALUES[kind]
        if kind == "text" and isinstance(raw, Scalar):  # folded texts end with a line break
            raw = Scalar(" ".join(raw.text.split()), raw.quoted, raw.is_text)
        try:
            return value_of(setting, raw)
        except InvalidValue as error:
            hint = f"expected {setting.expected}, found {text_of(raw)}{error.hint}"
            self.problem(node, f"{name}: {hint}")
            return setting.default

    def at(self, where: yaml.Node | int) -> str:
        """`configs/sweeps/x.yaml, line 4`, of a node or a line."""
        return place(self.path, where if isinstance(where, int) else line_of(where))

    def problem(self, where: yaml.Node | int, message: str) -> None:
        """Add a problem, with its place."""
        self.problems.append(f"{self.at(where)}: {message}")
