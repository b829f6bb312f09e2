"""The command line: `--section.option value`, config files and a command's own switches.

Names are not abbreviated and given once each; values may begin with one dash.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.settings import Setting
from engine.config.values import Entry, Raw, Scalar
from engine.config.wording import did_you_mean, shown

HELP = ("--help", "-h")
FILE = ("--config-file", "-C")


@dataclass(frozen=True)
class Flag:
    """A command's own switch beside the settings, such as --dry-run or --list [GLOB]."""

    name: str  # without dashes
    doc: str
    value: str | None = None  # metavar of an optional value, e.g. "GLOB"; None: a plain switch
    needs: bool = False  # the value may not be left out
    many: bool = False  # may be repeated; its value is the list of all
    read: Callable[[str], Any] = str  # turns the text into a value; see `readers`


@dataclass
class CommandLine:
    """The arguments, sorted by kind."""

    files: list[Path] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    flags: dict[str, Any] = field(default_factory=dict)  # True, or the value
    problems: list[str] = field(default_factory=list)


def scan(
    argv: Sequence[str], settings: Mapping[str, Setting], flags: Sequence[Flag]
) -> CommandLine:
    """Sort the arguments, collecting what is wrong with them."""
    return _Scanner(argv, settings, flags).run()


class _Scanner:
    def __init__(
        self, argv: Sequence[str], settings: Mapping[str, Setting], flags: Sequence[Flag]
    ) -> None:
        self.left = list(reversed(argv))
        self.settings = settings
        self.flags = {flag.name: flag for flag in flags}
        self.line = CommandLine()
        self.seen: set[str] = set()

    def run(self) -> CommandLine:
        while self.left:
            token = self.left.pop()
            name, equals, value = token.partition("=")
            attached = value if equals else None
            if name == FILE[0] or token == FILE[1]:
                self.config_file(name, attached)
            elif name.startswith("--") and name[2:] in self.settings:
                self.setting(self.settings[name[2:]], attached)
            elif name.startswith("--") and name[2:] in self.flags:
                self.flag(self.flags[name[2:]], attached)
            else:
                self.unknown(token)
        return self.line

    def config_file(self, name: str, attached: str | None) -> None:
        value = self.next_value() if attached is None else attached
        if not value:
            self.line.problems.append(f"{name}: expected the name of a YAML file after it")
        else:
            self.line.files.append(Path(value))

    def setting(self, setting: Setting, attached: str | None) -> None:
        option = f"--{setting.key}"
        value = self.next_value() if attached is None else attached
        if value is None and setting.kind is bool:
            value = "true"
        if value is None:
            self.line.problems.append(f"{option}: expected {setting.expected} after it")
        if not self.first(option, value) or value is None:
            return
        entry = Entry(setting.key, _raw(setting, value), option, by_flag=True)
        self.line.entries.append(entry)

    def flag(self, flag: Flag, attached: str | None) -> None:
        option = f"--{flag.name}"
        if not flag.many and not self.first(option, attached):
            return
        if flag.value is None:
            if attached is not None:
                self.line.problems.append(f"{option}: takes no value, found {shown(attached)}")
            self.line.flags[flag.name] = True
            return
        if attached is None and self.left and not self.left[-1].startswith("-"):
            attached = self.left.pop()
        if flag.needs and not attached:
            self.line.problems.append(f"{option}: expected {flag.value} after it")
        elif flag.many:
            self.line.flags.setdefault(flag.name, []).append(attached or "")
        elif attached is None:
            self.line.flags[flag.name] = True
        else:
            try:
                self.line.flags[flag.name] = flag.read(attached)
            except ArgumentTypeError as error:
                self.line.problems.append(f"{option}: {error}")

    def unknown(self, token: str) -> None:
        name, equals, _ = token.partition("=")
        if token.startswith("--") and token != "--":
            guess = did_you_mean(
                name, [f"--{known}" for known in (*self.settings, *self.flags)] + [FILE[0], HELP[0]]
            )
            self.line.problems.append(f"{shown(name)}: no such option{guess}")
            if not equals:
                self.next_value()  # most likely its value: one mistake, one line
            return
        form = "--section.option value" if self.settings else "--option value"
        hint = f"options are written {form}"
        if token.endswith((".yaml", ".yml")):
            hint = f"did you mean {FILE[0]} {shown(token)}?"
        self.line.problems.append(f"{shown(token)}: unexpected argument; {hint}")

    def next_value(self) -> str | None:
        """The next argument, unless it is an option itself (`--x=--y` gives any value)."""
        if not self.left or self.left[-1].startswith("--") or self.left[-1] in (FILE[1], HELP[1]):
            return None
        return self.left.pop()

    def first(self, option: str, value: str | None) -> bool:
        if option in self.seen:
            again = option if value is None else f"{option} {shown(value)}"
            self.line.problems.append(f"{again}: given more than once; keep one")
            return False
        self.seen.add(option)
        return True


def _raw(setting: Setting, text: str) -> Raw:
    if setting.optional and text == "null":
        return None
    if not setting.many or text in setting.limits.words:
        return Scalar(text)
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    return tuple(Scalar(part.strip()) for part in text.split(",")) if text else ()
