"""Designs as configuration files, ready for `engine.train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine import atomic
from engine.config.schema import Model
from engine.errors import UserError, with_path
from engine.explore.search import Design
from engine.model import Variant
from engine.model.naming import name_of


def write(designs: list[Design], folder: Path, origin: list[str]) -> list[str]:
    """Write a file per design, `origin` at its top; never replaces a file that differs."""
    contents: dict[Path, str] = {}
    for design in designs:
        path = folder / f"{name_of(design.variant)}.yaml"
        contents[path] = configuration(design, path, origin)
    clashes = [
        f"{path}: holds something else; give another --out, or remove it"
        for path, content in contents.items()
        if path.exists() and not (path.is_file() and path.read_text("utf-8") == content)
    ]
    if clashes:
        raise UserError(*clashes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise with_path(error, folder) from None
    for path, content in contents.items():
        atomic.write_text(path, content)
    return [str(path) for path in contents]


def configuration(design: Design, path: Path, origin: list[str]) -> str:
    """The content of one file."""
    settings = settings_of(design)
    lines = [
        *(f"# {line}" for line in origin),
        "#",
        f"# train:      python -m engine.train --config-file {path}",
        f"# parameters: {design.parameters:,}",
        f"# FLOPs:      {design.forward:,} forward, {design.training:,} training, per image",
        "# recipe:     none; the engine's defaults, unless another --config-file has one",
        "model:",
        *(f"  {key}: {json.dumps(value)}" for key, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def settings_of(design: Design) -> dict[str, Any]:
    """The `model.*` of a configuration for this design, without those that are the default."""
    variant = design.variant
    plain = Variant((1,) * len(variant.blocks))
    settings: dict[str, Any] = {"blocks": list(variant.blocks), "widths": list(variant.widths)}
    for key, value in vars(variant).items():
        if key not in settings and value != getattr(plain, key):
            settings[key] = list(value) if isinstance(value, tuple) else value
    if design.parameters > Model.budget:
        settings["budget"] = design.parameters
    return settings
