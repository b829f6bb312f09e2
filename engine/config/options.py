"""Reading a configuration from YAML files and flags: the only file that knows fastargs.

fastargs 1.2.0 declares the sections and parameters and holds the values; everything between is
ours, because by itself it ignores unknown keys, exits 0 on missing or invalid values, takes
`--x.flag false` for true and 5.9 for 5, lets nan pass and environment variables win over flags,
accepts abbreviated flags, breaks on empty files and prints terminal escapes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import fastargs
from fastargs.validation import Checker

from engine.config.argv import HELP, Flag, scan
from engine.config.help import help_text, render_values
from engine.config.settings import Setting, build, sections_of, settings_of
from engine.config.values import Entry, Wrong, hold, value_of
from engine.config.yaml_file import read_file
from engine.errors import UserError

__all__ = ["Flag", "Merged", "Parsed", "collect", "merge", "read", "render"]

T = TypeVar("T")
Check = Callable[[T], Iterable[tuple[str, str]]]  # yields (dotted name, what is wrong)

DEFAULT = "default"


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """A configuration, and where each of its values comes from."""

    config: T  # complete and checked
    origins: dict[str, str]  # "train.epochs": "default", "configs/x.yaml, line 4", "--train.epochs"
    files: tuple[Path, ...]  # config files in order
    flags: dict[str, str | bool]  # only those given: True, or the value
    lists: dict[str, list[str]] = field(default_factory=dict)  # of flags that may be repeated
    entries: tuple[Entry, ...] = ()  # all that was given, as it was written


def read(
    root: type[T],
    argv: Sequence[str],
    *,
    program: str,
    summary: str,
    flags: Sequence[Flag] = (),
    checks: Sequence[Check[T]] = (),
) -> Parsed[T]:
    """The configuration that files and flags give; flags win over files, later files over earlier.

    All problems are raised together, as one UserError with a line for each. A check is left out
    where it reads a value that is itself wrong.
    """
    parsed, problems = collect(
        root, argv, program=program, summary=summary, flags=flags, checks=checks
    )
    if problems:
        raise UserError(*problems)
    return parsed


def collect(
    root: type[T],
    argv: Sequence[str],
    *,
    program: str,
    summary: str,
    flags: Sequence[Flag] = (),
    checks: Sequence[Check[T]] = (),
) -> tuple[Parsed[T], list[str]]:
    """As `read`, but the problems are handed back, for a caller that may find more.

    What is wrong counts as not given.
    """
    if any(token in HELP for token in argv):
        sys.stdout.write(help_text(root, program, summary, flags))
        raise SystemExit(0)
    settings = settings_of(root)
    line = scan(argv, settings, flags)
    entries: list[Entry] = []
    problems: list[str] = []
    all_known = True
    for path in line.files:
        content = read_file(path, settings, sections_of(root))
        entries += content.entries
        problems += content.problems
        all_known = all_known and content.readable
    entries += line.entries
    merged = merge(root, entries, checks if all_known else ())
    # A file's mistakes come first, then wrong values, then what was typed, then contradictions.
    problems += [*merged.wrong_values, *line.problems, *merged.contradictions]
    origins = merged.origins
    parsed = Parsed(
        merged.config, origins, tuple(line.files), line.flags, line.lists, tuple(entries)
    )
    return parsed, problems


@dataclass(frozen=True)
class Merged(Generic[T]):
    """What entries come to; a wrong value counts as not given."""

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
    """The configuration of `entries`, of which later ones win.

    `origin` is blamed for what a check finds in a setting that none of them gave.
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
        except Wrong as error:
            wrong_values.append(entry.problem(error.expected, error.hint))
            wrong.add(entry.key)
        origins[entry.key] = entry.origin
        last[entry.key] = entry
    config: T = build(root, _through_fastargs(root, settings, values))
    contradictions = _cross_check(config, checks, wrong, last, origin)
    return Merged(config, origins, wrong_values, contradictions)


def render(parsed: Parsed[Any]) -> str:
    """The configuration as YAML with each value's origin; reading it gives the same again."""
    values = {
        key: getattr(getattr(parsed.config, setting.section), setting.name)
        for key, setting in settings_of(type(parsed.config)).items()
    }
    return render_values(values, parsed.origins)


class _Held(Checker):  # type: ignore[misc]
    """Holds a fastargs parameter to our limits; unlike fastargs' own, it converts nothing."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def check(self, value: Any) -> Any:
        return hold(self.setting, value)

    def help(self) -> str:
        return self.setting.expected


def _through_fastargs(
    root: type, settings: Mapping[str, Setting], values: Mapping[str, Any]
) -> dict[str, Any]:
    declared = fastargs.Config()  # our own: the global one would add up over calls
    for section, kind in sections_of(root).items():
        fastargs.Section(section, kind.__doc__, config_descriptor=declared).params(
            **{
                setting.name: fastargs.Param(
                    _Held(setting), setting.limits.doc, default=setting.default
                )
                for setting in settings.values()
                if setting.section == section
            }
        )
    declared.collect(dict(values))
    return {key: declared[key] for key in settings}


class _NotKnown(Exception):
    pass


def _cross_check(
    config: T,
    checks: Sequence[Check[T]],
    wrong: set[str],
    last: Mapping[str, Entry],
    origin: str,
) -> list[str]:
    shown_config = _hollow(config, wrong)
    problems: list[str] = []
    for check in checks:
        try:
            for key, message in check(shown_config):
                entry = last.get(key)
                if entry is None:
                    problems.append(
                        f"{origin}: {key}: {message}" if origin else f"{key}: {message}"
                    )
                elif entry.by_flag:
                    problems.append(entry.problem(message))
                else:
                    problems.append(f"{entry.origin}: {key}: {message}")
        except _NotKnown:
            continue
    return problems


def _hollow(config: T, wrong: set[str]) -> T:
    """`config`, but reading a value of `wrong` raises: a default would stand for what was meant."""
    if not wrong:
        return config
    sections = {}
    for name in sections_of(type(config)):
        lost = {key.partition(".")[2] for key in wrong if key.startswith(f"{name}.")}
        sections[name] = _without(getattr(config, name), lost)
    return type(config)(**sections)


def _without(section: Any, lost: set[str]) -> Any:
    def read_or_raise(self: Any, name: str) -> Any:
        if name in lost:
            raise _NotKnown(name)
        return object.__getattribute__(self, name)

    kind = type(section)
    hollow_kind = type(kind.__name__, (kind,), {"__getattribute__": read_or_raise})
    hollow: Any = object.__new__(hollow_kind)
    vars(hollow).update(vars(section))
    return hollow
