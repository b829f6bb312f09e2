"""Measurements of the machine, made once and kept in the folder of compiled code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import atomic, files
from engine.errors import UserError

FILE = "measured.json"


def cached(key: str, measure: Callable[[], float], cache: Path | None) -> float:
    """The kept measurement of `key`, measured if there is none; always measured without `cache`."""
    if cache is None:
        return measure()
    path = cache / FILE
    kept = _read(path)
    if key not in kept:
        kept[key] = round(measure(), 3)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            atomic.write_json(path, kept)
        except (OSError, UserError) as error:  # full, read-only, written by another process
            print(f"warning: {path}: measurement not kept ({error})", file=sys.stderr)
    return kept[key]


def known(cache: Path | None) -> dict[str, float]:
    """All that is kept."""
    return {} if cache is None else _read(cache / FILE)


def keep(values: dict[str, float], cache: Path) -> None:
    """Keep these measurements, in place of older ones."""
    cache.mkdir(parents=True, exist_ok=True)
    atomic.write_json(cache / FILE, known(cache) | values)


def _read(path: Path) -> dict[str, float]:
    """The kept measurements; an unreadable file is dropped."""
    try:
        content: Any = json.loads(files.read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, UserError):
        content = None
    if not isinstance(content, dict) or not all(
        type(value) in (int, float) and 0 < value < float("inf") for value in content.values()
    ):
        print(f"warning: {path}: unreadable, measured again", file=sys.stderr)
        return {}
    return {key: float(value) for key, value in content.items()}
