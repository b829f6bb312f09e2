"""Reading reported values from sweep files, strictly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from engine.config.schema import Config
from engine.config.settings import sections_of, settings_of
from engine.config.values import Entry, Scalar
from engine.config.wording import did_you_mean, shown
from engine.config.yaml_file import raw_of, settings_in
from engine.sweep.experiments import ReportedAt
from engine.sweep.nodes import NodeReader, Parts
from engine.sweep.reported import (
    ACCURACIES,
    LOSSES,
    ReportedValue,
    contradictions,
    half_a_unit,
    in_todays_words,
)

WORDS = (
    "evidence", "statistic", "measure", "epoch", "until", "selection", "estimator", "read",
    "precision", "run",
)  # fmt: skip
OF_A_RUN = ("value", *WORDS[:2], "note", *WORDS[2:], "threshold")
REPORTED = ("at", *OF_A_RUN, "best_over")

ELSEWHERE = {  # settings that a sweep takes from another place
    "train.seed": "seeds belong to `seeds:`, beside the experiments or in one",
    "run.name": "a run's folder is named by its network, seed and fingerprint",
    "run.root": "give it to the command, as --run.root",
}

_SETTINGS, _SECTIONS = settings_of(Config), sections_of(Config)


class ReportedReader(NodeReader):
    """Reads nodes with settings and reported values."""

    def entries(self, parts: Parts, name: str) -> tuple[Entry, ...]:
        """Settings, nested or dotted; those that a sweep takes from another place are refused."""
        node = parts.get(name)
        if node is None:
            return ()
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{name}: expected settings, indented below it")
            return ()
        content = settings_in(node, self.path, _SETTINGS, _SECTIONS)
        self.problems += content.problems
        for entry in content.entries:
            if entry.key in ELSEWHERE:
                self.problems.append(f"{entry.origin}: {entry.key}: {ELSEWHERE[entry.key]}")
        return tuple(entry for entry in content.entries if entry.key not in ELSEWHERE)

    def reported(self, parts: Parts, known: Sequence[str] = REPORTED) -> tuple[ReportedAt, ...]:
        """The reported values of an experiment or, with `known` OF_A_RUN, of one run."""
        values = []
        for node in self.items(parts, "reported"):
            inner = self.parts(node, known, "a reported value")
            if "value" not in inner and isinstance(node, yaml.MappingNode):
                self.problem(node, "value: missing; a remark without a number belongs in `notes:`")
            before = len(self.problems)
            value = self._value(inner)
            if len(self.problems) == before:
                for key, message in contradictions(value):
                    self.problem(inner.get(key, node), f"{key}: {message}")
            values.append(ReportedAt(value, self.entries(inner, "at"), self.at(node)))
        return tuple(values)

    def _value(self, parts: Parts) -> ReportedValue:
        values = {name: self.one(parts, name) for name in WORDS}
        if values["epoch"] is not None and "statistic" not in parts:
            values["statistic"] = "at"
        if values["precision"] is None and values["read"] == "printed" and "value" in parts:
            raw = raw_of(parts["value"])
            text = raw.text if isinstance(raw, Scalar) else ""
            values["precision"] = half_a_unit(len(text.partition(".")[2]))
        return ReportedValue(
            value=self.one(parts, "value"),
            note=self.text(parts, "note"),
            threshold=self._threshold(parts),
            best_over=self._best_over(parts),
            **in_todays_words(values),
        )

    def _threshold(self, parts: Parts) -> tuple[str, float] | None:
        node = parts.get("threshold")
        if node is None:
            return None
        before = len(self.problems)
        inner = self.parts(node, (*ACCURACIES, *LOSSES), "a threshold")
        if len(inner) != 1:
            if len(self.problems) == before:
                self.problem(node, "threshold: expected one measure, such as {train_accuracy: 100}")
            return None
        ((measure, value),) = inner.items()
        return measure, self.value(measure, value, "value")

    def _best_over(self, parts: Parts) -> tuple[str, ...]:
        keys = []
        for item in self.items(parts, "best_over"):
            key: Any = self.value("best_over", item, "text")
            if key in _SETTINGS:
                keys.append(key)
            elif key:
                guess = did_you_mean(key, tuple(_SETTINGS))
                self.problem(item, f"best_over: {shown(key)}: no such option{guess}")
        return tuple(keys)
