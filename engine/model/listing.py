"""The table of variants as `--list` shows it: counted in closed form, nothing is built."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.model import budget
from engine.model.choice import suggestion
from engine.model.variants import ROWS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def rows(glob: str | None = None) -> list[dict[str, Any]]:
    """The variants whose name matches `glob`, or all, each as a dictionary."""
    names = [name for name in ROWS if glob is None or fnmatchcase(name, glob)]
    if not names:
        plain = (glob or "").replace("*", "").replace("?", "")
        raise UserError(f"no variant matches {glob!r}{suggestion(plain)}")
    return [_row(name) for name in names]


def config_of(name: str) -> str | None:
    """The path of the variant's configuration, relative where possible, or None."""
    path = CONFIGS / f"{name}.yaml"
    if not path.is_file():
        return None
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _row(name: str) -> dict[str, Any]:
    row = ROWS[name]
    return {
        "variant": name,
        "parameters": budget.parameters(row.variant).total,
        "flops": budget.flops(row.variant)._asdict(),
        "config": config_of(name),
        "source": row.source,
    }
