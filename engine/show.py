"""What `engine.train` can show without training: variants, one network, a merged configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.columns import columns
from engine.config import options
from engine.config.options import Flag, Parsed
from engine.config.schema import Config
from engine.data import sidecar
from engine.errors import OK
from engine.model import describe, resolve, rows

FLAGS = (
    Flag("list", "list all variants, or those that match GLOB, and exit", "GLOB"),
    Flag("json", "with --list: as JSON"),
    Flag("describe", "describe the network as JSON and exit"),
    Flag("print-config", "print the merged settings with the origin of each and exit"),
    Flag("dry-run", "check the data, make two steps, write nothing"),
    Flag("profile", "make some steps, write to the run's profile/ where their time goes"),
    Flag("fresh", "forget an earlier start of this run and train from the beginning"),
    Flag("quiet", "print the result only"),
)
CLASSES, SIDE = 10, 32  # where the data set is not there to tell


def lists(argv: Sequence[str]) -> bool:
    """Whether `argv` asks for the list, which needs no network to be named."""
    return any(word == "--list" or word.startswith("--list=") for word in argv)


def asked(flags: Mapping[str, str | bool]) -> bool:
    """Whether something is to be shown instead of trained."""
    return not flags.keys().isdisjoint({"list", "describe", "print-config"})


def show(parsed: Parsed[Config]) -> int:
    """Print what was asked for; returns the exit code."""
    flags = parsed.flags
    if "list" in flags:
        pattern = flags["list"]
        _list(pattern if isinstance(pattern, str) else None, as_json="json" in flags)
    elif "describe" in flags:
        train = Path(parsed.config.data.train)
        known = sidecar.read(train)
        classes = len(known.classes) if known is not None else CLASSES
        side = known.image_shape[0] if known is not None else SIDE
        _print_json(describe(resolve(parsed.config.model), classes, side=side))
    else:
        sys.stdout.write(options.render(parsed))
    return OK


def _list(pattern: str | None, *, as_json: bool) -> None:
    found = rows(pattern)
    if as_json:
        _print_json(found)
        return
    lines = [
        (
            row["variant"],
            f"{row['parameters']:,}",
            f"{row['flops']['forward'] / 1e9:.3f}",
            f"{row['flops']['training'] / 1e9:.3f}",
            row["config"] or "-",
        )
        for row in found
    ]
    print(
        columns(("variant", "parameters", "GFLOPs", "training", "config"), lines, right=(1, 2, 3))
    )


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2))
