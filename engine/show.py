"""What `engine.train` can show without training: variants, one network, a merged configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.columns import columns
from engine.config import options
from engine.config.options import Flag, Parsed
from engine.config.readers import one_of
from engine.config.schema import Config
from engine.data import sidecar
from engine.errors import OK, UserError
from engine.model import describe, resolve, rows
from engine.model.drawing import drawing
from engine.model.layer_table import layer_table
from engine.model.naming import name_of
from engine.runs import initial_weights

FLAGS = (
    Flag("list", "list all variants, or those that match GLOB, and exit", "GLOB"),
    Flag("json", "with --list: as JSON"),
    Flag("describe", "describe the network and exit"),
    Flag("format", "with --describe: json, its parameters and FLOPs by part (the default); table, "
         "every layer with its output shape, parameters, FLOPs and memory; svg, a drawing",
         "FORMAT", needs=True, read=one_of("json", "table", "svg")),
    Flag("print-config", "print the merged settings with the origin of each and exit"),
    Flag("dry-run", "check the data, run two steps, write nothing"),
    Flag("profile", "profile some steps; write a trace and a table to the run's folder profile/"),
    Flag("fresh", "delete what this run has saved and train from the beginning"),
    Flag("quiet", "print the result only"),
)  # fmt: skip
CLASSES, SIDE = 10, 32  # without a data set


def lists(argv: Sequence[str]) -> bool:
    """Whether `argv` has `--list`, which needs no network."""
    return any(word == "--list" or word.startswith("--list=") for word in argv)


def requested(flags: Mapping[str, Any]) -> bool:
    """Whether something is to be shown instead of trained."""
    return not flags.keys().isdisjoint({"list", "describe", "format", "print-config"})


def show(parsed: Parsed[Config]) -> int:
    """Print what the flags request; returns the exit code."""
    flags = parsed.flags
    if "format" in flags and "describe" not in flags:
        raise UserError("--format: the form of a description; expected --describe with it")
    if "list" in flags:
        variants = rows(None if flags["list"] is True else flags["list"])
        if "json" in flags:
            _print_json(variants)
        else:
            _print_table(variants)
    elif "describe" in flags:
        _describe(parsed.config, flags.get("format", "json"))
    else:
        sys.stdout.write(options.render(parsed))
    return OK


def _describe(config: Config, form: str) -> None:
    """The network, for the classes and image size of the data set if that is there."""
    known = sidecar.read(Path(config.data.train))
    classes = len(known.classes) if known is not None else CLASSES
    side = known.image_shape[0] if known is not None else SIDE
    variant = resolve(config.model)
    weights = initial_weights.read(config.model, classes, side)
    if form == "table":
        print(layer_table(variant, classes, side))
    elif form == "svg":
        sys.stdout.write(drawing(variant, classes, side, title=name_of(variant)))
    else:
        content = describe(variant, classes, side=side)
        if weights is not None:
            content["initial_weights"] = weights.origin()
        _print_json(content)


def _print_table(variants: list[dict[str, Any]]) -> None:
    head = ("variant", "parameters", "GFLOPs", "training", "config")
    lines = [
        (
            row["variant"],
            f"{row['parameters']:,}",
            f"{row['flops']['forward'] / 1e9:.3f}",
            f"{row['flops']['training'] / 1e9:.3f}",
            row["config"] or "-",
        )
        for row in variants
    ]
    print(columns(head, lines, right=(1, 2, 3)))


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2))
