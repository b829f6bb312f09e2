"""Values from files of unknown origin: none is trusted, none stops the reading."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine import files
from engine.errors import UserError

UNPRINTABLE = ("Cc", "Cs", "Cf", "Zl", "Zp", "Cn")
MOST = 1e30  # of a number
DEEPEST = 30  # levels of lists and objects
LONE = re.compile("[\ud800-\udfff]")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # as JSON has one


def printable(text: object) -> str:
    """`text` with control characters, lone surrogates and the like replaced."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in UNPRINTABLE else letter
        for letter in text
    )


def shortened(value: object, most: int = 60) -> str:
    """A value as printable text, short enough for a line."""
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= most else text[: most - 3] + "..."


def number(value: Any) -> float | None:
    """A number that can be reckoned with, or None: sums and ratios of others are not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not abs(value) <= MOST:  # nan is not
        return None
    return float(value) if abs(value) >= 1 / MOST else 0.0


def numbers(values: Any) -> list[float]:
    """The finite numbers of a list; none for anything else."""
    read = [number(value) for value in values] if isinstance(values, list) else []
    return [value for value in read if value is not None]


def conditions_text(
    known: Mapping[str, Any], own: Sequence[str], more: Sequence[object] = ()
) -> str:
    """Machine, threads, a benchmark's `own` conditions, torch, and what `more` there is."""
    torch = mapping(known.get("versions")).get("torch", "?")
    threads = f"{known.get('threads', '?')} threads"
    parts = [known.get("gpu"), known.get("cpu"), threads, *own, f"torch {torch}", *more]
    return ", ".join(str(part) for part in parts if part)


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def read_object(
    path: Path, problems: list[str], *, name: str = "", missing: str = ""
) -> dict[str, Any]:
    """A file's JSON object; an empty one if there is none, with the reason in `problems`.

    `name` is the file's name in messages; `missing` is the problem if there is no such file.
    """
    name = printable(name or path.name)
    text = read_text(path, problems, name=name)
    if text is None:
        if missing and not path.exists():
            problems.append(f"{name}: {missing}")
        return {}
    content = parse_json(text)
    if not isinstance(content, dict):
        problems.append(f"{name}: not readable as JSON; damaged or half-written")
        return {}
    return content


def parse_json(text: str) -> Any:
    """The value, or None if `text` is not JSON, or nested deeper than any file of ours."""
    try:
        value = json.loads(text)
        nested = text.count("[") + text.count("{") > DEEPEST
        return _clean(value, DEEPEST) if nested or SURROGATE.search(text) else value
    except (ValueError, RecursionError):
        return None


def _clean(value: Any, depth: int) -> Any:
    """`value` with lone surrogates replaced, which cannot be written; raises if nested deeper."""
    if not depth:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return LONE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_clean(each, depth - 1) for each in value]
    if isinstance(value, dict):
        return {_clean(key, depth): _clean(each, depth - 1) for key, each in value.items()}
    return value


def read_text(path: Path, problems: list[str], *, name: str = "") -> str | None:
    """A file's text, or None; it never waits on a pipe, and never reads a huge file."""
    name = printable(name or path.name)
    try:
        return files.read_bytes(path).decode(errors="replace")
    except FileNotFoundError:
        return None
    except UserError as error:
        problems.append(f"{name}: {printable(error).removeprefix(printable(path) + ': ')}")
    except OSError as error:
        problems.append(f"{name}: {error.strerror}")
    return None
