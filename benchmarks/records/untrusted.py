"""Values from files that anybody may have written: none is trusted, none stops the reading."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20  # bytes of a record or log that are read
UNPRINTABLE = ("Cc", "Cs", "Cf", "Zl", "Zp", "Cn")


def clean(text: object) -> str:
    """`text` without what cannot be printed, whoever wrote it: control characters, halves."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in UNPRINTABLE else letter
        for letter in str(text)
    )


def shown(value: object) -> str:
    """A value from a foreign file, short enough for a line."""
    text = clean(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def plain(value: Any) -> float | None:
    """A finite number, or None for whatever else was written."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one for whatever else was written."""
    return value if isinstance(value, dict) else {}


def read_object(path: Path, problems: list[str], *, needed: bool = False) -> dict[str, Any]:
    """A file's JSON object; an empty one where there is none, and why in `problems`."""
    text = read_text(path, problems)
    if text is None:
        if needed and not path.exists():
            problems.append(f"{path.name}: missing; the run was stopped before it began")
        return {}
    content = parsed(text)
    if not isinstance(content, dict):
        problems.append(f"{path.name}: not readable as JSON; damaged or half-written")
        return {}
    return content


def parsed(text: str) -> Any:
    """What JSON says, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_text(path: Path, problems: list[str]) -> str | None:
    """What a file holds; never waits on a pipe, and never reads a disk full of it."""
    try:
        if not path.exists():
            return None
        if not path.is_file():
            problems.append(f"{path.name}: not a file")
        elif path.stat().st_size > LARGEST:
            problems.append(f"{path.name}: larger than {LARGEST // 2**20} MiB, not read")
        else:
            return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name}: {error.strerror}")
    return None
