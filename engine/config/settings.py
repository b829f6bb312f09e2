"""The settings of a configuration, as its dataclasses declare them."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass
from typing import Any

from engine.config.fields import Limits
from engine.config.wording import either, limits

LARGEST_INT = 2**63 - 1  # what JSON readers, NumPy and torch take as a whole number

_NOUNS = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers")}


@dataclass(frozen=True)
class Setting:
    """One setting: where it belongs, what it may be."""

    section: str
    name: str
    kind: type  # int, float, bool or str: of the value or of a list's entries
    many: bool  # a list
    optional: bool  # may be None, meaning not given
    default: Any
    limits: Limits

    @property
    def key(self) -> str:
        """Its dotted name: `train.epochs`."""
        return f"{self.section}.{self.name}"

    def of(self, config: Any) -> Any:
        """Its value in a configuration."""
        return getattr(getattr(config, self.section), self.name)

    @property
    def expected(self) -> str:
        """What a right value is: `a whole number, 1 to 100,000`."""
        words = list(self.limits.choices or self.limits.words)
        if not self.limits.choices and not (self.kind is str and words):
            words.append(self._kind())
        return either(words)

    def _kind(self) -> str:
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "text"
        one, several = _NOUNS[self.kind]
        own = self.limits
        text = limits(own.low, own.high, above=own.above, below=own.below)
        if not self.many:
            return one + (f", {text}" if text else "")
        if self.limits.length is not None:
            several = f"{self.limits.length} {several}"
        return f"a list of {several}" + (f", each {text}" if text else "")


def sections_of(root: type) -> dict[str, type]:
    """The dataclass of each section, by the section's name."""
    return _sections_of(root)


@functools.cache
def _sections_of(root: type) -> dict[str, type]:
    hints = typing.get_type_hints(root)
    return {field.name: hints[field.name] for field in dataclasses.fields(root)}


def settings_of(root: type) -> dict[str, Setting]:
    """Every setting of a dataclass of sections, by dotted name."""
    return _settings_of(root)  # mypy takes no type for an argument of a cached function


@functools.cache
def _settings_of(root: type) -> dict[str, Setting]:
    settings: dict[str, Setting] = {}
    for section, kind in sections_of(root).items():
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            setting = _setting(section, field, hints[field.name])
            settings[setting.key] = setting
    return settings


def build(root: type, values: dict[str, Any]) -> Any:
    """The configuration that holds `values`, which are complete."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    kinds = sections_of(root).items()
    return root(**{name: kind(**sections.get(name, {})) for name, kind in kinds})


def _setting(section: str, field: dataclasses.Field[Any], hint: Any) -> Setting:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = list(typing.get_args(hint)) if union else [hint]
    optional = type(None) in members
    members = [member for member in members if member is not type(None)]
    if len(members) > 1 and str in members:
        members.remove(str)  # the words of its limits
    (member,) = members
    many = typing.get_origin(member) is tuple
    kind = typing.get_args(member)[0] if many else member
    if kind not in (int, float, bool, str) or (many and kind not in _NOUNS):
        raise TypeError(f"{section}.{field.name}: no reader for the type {hint}")
    if optional and field.default is not None:
        raise TypeError(f"{section}.{field.name}: a setting that may be None must default to it")
    return Setting(
        section, field.name, kind, many, optional, field.default, field.metadata["limits"]
    )
