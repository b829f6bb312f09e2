"""What `--help` and `--print-config` print: plain text, no terminal codes."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from engine.config.argv import FILE, HELP, Flag
from engine.config.settings import Setting, sections_of, settings_of

_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


def help_text(root: type, program: str, summary: str, flags: Sequence[Flag]) -> str:
    """Every option with its type, default, limits and explanation."""
    width = _width()
    usage = f"{program} [{FILE[0]} FILE]... [--SECTION.OPTION VALUE]..." + "".join(
        f" [{_usage(flag)}]" + ("..." if flag.many else "") for flag in flags
    )
    lines = _item(
        f"{FILE[0]} FILE, {FILE[1]} FILE",
        "YAML file of settings; may be repeated, later files win, and options win over files",
        width,
    )
    settings = settings_of(root).values()
    sections: list[str] = []
    for section, kind in sections_of(root).items():
        doc = " ".join((inspect.getdoc(kind) or "").split())
        sections += ["", *textwrap.wrap(f"{section}: {doc}", width, subsequent_indent="    ")]
        for setting in settings:
            if setting.section == section:
                sections += _item(f"--{setting.key}", _about(setting), width)
    return "\n".join([*_head(usage, summary, width), *lines, *_flags(flags, width), *sections, ""])


def flags_help(program: str, summary: str, flags: Sequence[Flag]) -> str:
    """The same for a command without configuration."""
    width = _width()
    lines = [*_head(f"{program} [--OPTION VALUE]...", summary, width), *_flags(flags, width), ""]
    return "\n".join(lines)


def render_values(values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """The settings as YAML, each with its origin as an end-of-line comment."""
    lines: list[str] = []
    current = ""
    for key, value in values.items():
        section, _, name = key.partition(".")
        if section != current:
            lines.append(f"{section}:")
            current = section
        lines.append(f"  {name}: {written(value)}  # {origins[key]}")
    return "\n".join(lines) + "\n"


def written(value: Any) -> str:
    """A value as our config files and other YAML 1.1 readers both take it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(written(item) for item in value)}]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")  # 1e-08 is a word in YAML 1.1
    if isinstance(value, int):
        return str(value)
    if _PLAIN_WORD.fullmatch(value) and yaml.safe_load(value) == value:
        return str(value)
    quoted: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9)
    return quoted.rstrip("\n")


def _about(setting: Setting) -> str:
    default = "not given" if setting.default is None else json.dumps(setting.default)
    if isinstance(setting.default, str) and setting.default:
        default = setting.default
    return f"{setting.limits.doc} ({setting.expected}; default: {default})"


def _width() -> int:
    return max(40, min(100, shutil.get_terminal_size().columns - 1))


def _head(usage: str, summary: str, width: int) -> list[str]:
    usage_lines = textwrap.wrap(
        f"usage: {usage}", width, subsequent_indent="    ", break_on_hyphens=False
    )
    return [*usage_lines, "", *textwrap.wrap(summary, width), "", "Options:"]


def _flags(flags: Sequence[Flag], width: int) -> list[str]:
    lines = [line for flag in flags for line in _item(_usage(flag), flag.doc, width)]
    return [*lines, *_item(", ".join(HELP), "print this and stop", width)]


def _item(name: str, text: str, width: int) -> list[str]:
    indent = " " * 8
    body = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return [f"  {name}", *body]


def _usage(flag: Flag) -> str:
    if flag.value is None:
        return f"--{flag.name}"
    return f"--{flag.name} " + (flag.value if flag.needs else f"[{flag.value}]")
