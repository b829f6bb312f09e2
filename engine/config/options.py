"""Reading a configuration from YAML files and flags: the only file that imports fastargs.

fastargs 1.2.0 declares the sections and parameters and stores the values; everything between is
ours, because by itself it ignores unknown keys, exits 0 on missing or invalid values, reads
`--x.flag false` as true and 5.9 as 5, lets nan pass and environment variables win over flags,
accepts abbreviated flags, crashes on empty files and prints terminal escapes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import fastargs
from fastargs.validation import Checker

from engine.config.argv import HELP, Flag, scan
from engine.config.fields import Check
from engine.config.help import help_text, render_values
from engine.config.settings import build, sections_of, settings_of
from engine.config.values import Entry, InvalidValue, value_of
from engine.config.yaml_file import read_file
from engine.errors import UserError

__all__ = ["Flag", "Merged", "Parsed", "merge", "read", "render"]

T = TypeVar("T")

DEFAULT = "default"


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """A configuration, and where each of its values comes from."""

    config: T  # complete and checked
    origins: dict[str, str]  # "train.epochs": "default", "configs/x.yaml, line 4", "--train.epochs"
    files: tuple[Path, ...]  # config files in order
    flags: dict[str, Any]  # only those given: True, or the value
    entries: tuple[Entry, ...] = ()  # every setting given, unparsed


def read(
    root: type[T],
    argv: Sequence[str],
    *,
    program: str,
    summary: str,
    flags: Sequence[Flag] = (),
    checks: Sequence[Check[T]] = (),
    problems: list[str] | None = None,
) -> Parsed[T]:
    """The configuration that files and flags give; flags win over files, later files over earlier.

    All problems are raised together, as one UserError with a line for each; a caller that may
    find more passes a list, to which they are added. A wrong value counts as not given, and a
    check is skipped where a setting that it reads is wrong.
    """
    if any(token in HELP for token in argv):
        sys.stdout.write(help_text(root, program, summary, flags))
        raise SystemExit(0)
    settings = settings_of(root)
    line = scan(argv, settings, flags)
    entries: list[Entry] = []
    wrong: list[str] = []
    complete = True  # whether every file could be read
    for path in line.files:
        content = read_file(path, settings, sections_of(root))
        entries += content.entries
        wrong += content.problems
        complete = complete and content.readable
    entries += line.entries
    merged = merge(root, entries, checks if complete else ())
    # A file's mistakes come first, then wrong values, then what was typed, then contradictions.
    wrong += [*merged.wrong_values, *line.problems, *merged.contradictions]
    if problems is not None:
        problems += wrong
    elif wrong:
        raise UserError(*wrong)
    files = tuple(line.files)
    return Parsed(merged.config, merged.origins, files, line.flags, tuple(entries))


@dataclass(frozen=True)
class Merged(Generic[T]):
    """The result of merging entries; a wrong value counts as not given."""

    config: T
    origins: dict[str, str]
    wrong_values: list[str]
    contradictions: list[str]


def merge(
    root: type[T],
    entries: Sequence[Entry],
    checks: Sequence[Check[T]] = (),
    *,
    origin: str = "",
) -> Merged[T]:
    """The configuration that `entries` give; later ones win.

    `origin` is named for what a check finds in a setting that none of them gave.
    """
    settings = settings_of(root)
    values = {key: setting.default for key, setting in settings.items()}
    origins = dict.fromkeys(settings, DEFAULT)
    last: dict[str, Entry] = {}
    wrong: set[str] = set()
    wrong_values: list[str] = []
    for entry in entries:
        try:
            values[entry.key] = value_of(settings[entry.key], entry.raw)
        except InvalidValue as error:
            wrong_values.append(entry.problem(error.expected, error.hint))
            wrong.add(entry.key)
        origins[entry.key] = entry.origin
        last[entry.key] = entry
    config: T = build(root, _through_fastargs(root, values))
    contradictions = _cross_check(config, checks, wrong, last, origin)
    return Merged(config, origins, wrong_values, contradictions)


def render(parsed: Parsed[Any]) -> str:
    """The configuration as YAML with each value's origin; it reads back as the same."""
    settings = settings_of(type(parsed.config))
    values = {key: setting.of(parsed.config) for key, setting in settings.items()}
    return render_values(values, parsed.origins)


class _AsRead(Checker):  # type: ignore[misc]
    """Takes what `value_of` has read and checked; unlike fastargs' own, it converts nothing."""

    def check(self, value: Any) -> Any:
        return value

    def help(self) -> str:
        return "the value"


def _through_fastargs(root: type, values: Mapping[str, Any]) -> dict[str, Any]:
    declared = _declared(root)
    declared.content.clear()
    declared.collect(dict(values))
    return {key: declared[key] for key in values}


@functools.cache  # the plan of a sweep merges thousands of times
def _declared(root: type) -> Any:
    declared = fastargs.Config()  # our own: the global one would add up over calls
    for section, kind in sections_of(root).items():
        fastargs.Section(section, kind.__doc__, config_descriptor=declared).params(
            **{
                setting.name: fastargs.Param(_AsRead(), setting.limits.doc, default=setting.default)
                for setting in settings_of(root).values()
                if setting.section == section
            }
        )
    return declared


def _cross_check(
    config: T,
    checks: Sequence[Check[T]],
    wrong: set[str],
    last: Mapping[str, Entry],
    origin: str,
) -> list[str]:
    wrong_sections = {key.partition(".")[0] + "." for key in wrong}
    problems: list[str] = []
    for check in checks:
        if not wrong.isdisjoint(check.reads) or not wrong_sections.isdisjoint(check.reads):
            continue
        for key, message in check.problems(config):
            entry = last.get(key)
            if entry is None:
                problems.append(f"{origin}: {key}: {message}" if origin else f"{key}: {message}")
            elif entry.by_flag:
                problems.append(entry.problem(message))
            else:
                problems.append(f"{entry.origin}: {key}: {message}")
    return problems
