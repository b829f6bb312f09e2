"""Which networks fit a budget, and which of them none beats: `python -m engine.explore`.

Every design of the family within the limits is counted in closed form, equal to the built network
to the unit; listed are those that no other one beats in all that is compared.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C among the imports below
    from engine import signals

    signals.quit_early()

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine import atomic
from engine.columns import columns
from engine.config.schema import Model
from engine.errors import OK, UserError, run_command, with_path
from engine.explore import options, speed
from engine.explore.designs import UNLIMITED, size
from engine.explore.options import Asked
from engine.explore.search import Found, Row, beaten_by, row_of, search
from engine.explore.speed import Speed
from engine.model import Variant
from engine.model.fitting import misfits
from engine.model.naming import name_of
from engine.model.variants import ROWS

PROGRAM = "python -m engine.explore"
SUMMARY = (
    "List the designs of the family within a budget that no other one beats (the Pareto set) in "
    "parameters, FLOPs, depth and predicted images a second. LIST is 3,4,5 or 1-8 or 16-64:16."
)
RUNS = Path("runs")
LARGE = 200_000_000  # designs of a grid that take some time
SORTS: dict[str, Callable[[Row], tuple[float, ...]]] = {  # the best first
    "parameters": lambda row: (-row.parameters, row.forward),
    "flops": lambda row: (row.forward, -row.parameters),
    "depth": lambda row: (-row.depth, -row.parameters),
    "speed": lambda row: (-row.speed, -row.parameters),
}


class Known(NamedTuple):
    """A network of the reports beside those that were found."""

    name: str
    row: Row
    better: list[Row]


def main(argv: Sequence[str]) -> int:
    """The command."""
    if options.asks_for_help(argv):
        sys.stdout.write(options.help_text(PROGRAM, SUMMARY))
        return OK
    asked = options.read(argv)
    predict = speed.from_runs(asked.runs or RUNS)
    if (grid := size(asked.space)) > LARGE:
        print(f"looking at a grid of {grid:,} designs", file=sys.stderr)
    found = search(asked.space, asked.objectives, predict)
    if not found.rows:
        raise UserError(
            f"none of {found.grid:,} designs keeps to the limits; raise --budget or --max-flops, "
            "or give smaller --widths and --blocks"
        )
    rows = sorted(found.rows, key=SORTS[asked.sort])
    known = beside(rows, asked, predict)
    listed = rows[: asked.limit] if asked.limit else rows
    files = write(listed[: asked.write], asked, len(rows)) if asked.write else []
    if asked.json:
        print(json.dumps(as_json(listed, found, asked, predict, known, files), indent=2))
    else:
        print(table(listed, found, asked, predict))
        print("\n".join(sentences(known)))
        for file in files:
            print(f"written: {file}")
    return OK


def table(listed: list[Row], found: Found, asked: Asked, predict: Speed) -> str:
    """The list, and below it what it was chosen from and by what."""
    heads = ("design", "parameters", "GFLOPs", "training", "depth", _speed_name(predict))
    lines = [
        (
            name_of(row.variant), f"{row.parameters:,}", f"{row.forward / 1e9:.3f}",
            f"{row.training / 1e9:.3f}", str(row.depth),
            f"{row.speed:,.0f}" if predict.measured else f"{row.speed:.2f}",
        )
        for row in listed
    ]  # fmt: skip
    text = [columns(heads, lines)]
    more = len(found.rows) - len(listed)
    text += [f"... and {more:,} more (--limit 0 lists all)"] if more else []
    return "\n".join([*text, "", *summary(found, asked, predict)])


def summary(found: Found, asked: Asked, predict: Speed) -> list[str]:
    """What was compared with what, in sentences."""
    space = asked.space
    limits = [f"{space.budget:,} parameters"]
    limits += [f"{space.max_flops:,} FLOPs forward"] if space.max_flops < UNLIMITED else []
    better = compared(asked)
    return [
        f"Pareto set over {better}:",
        "no other design is as good in each of these and better in one.",
        f"{len(found.rows):,} of {found.within:,} designs within {' and '.join(limits)}, "
        f"of a grid of {found.grid:,}; {found.seconds:.1f} s.",
        "GFLOPs: of an image forward; training: and backward.",
        f"{predict.label[:1].upper()}{predict.label[1:]}.",
    ]


def compared(asked: Asked) -> str:
    """The objectives in words."""
    words = {"flops": "FLOPs", "speed": "images/s"}
    return ", ".join(f"{way} {words.get(name, name)}" for name, way in asked.objectives)


def beside(rows: list[Row], asked: Asked, predict: Speed) -> list[Known]:
    """The reports' final networks within the budget and the FLOPs, and what beats them."""
    finals = {
        name: row.variant for name, row in ROWS.items() if row.source.rstrip(")").endswith("final")
    }
    known = []
    for name, variant in finals.items():
        if misfits(variant, asked.space.side):
            continue
        own = row_of(variant, asked.space, predict)
        if own.parameters <= asked.space.budget and own.forward <= asked.space.max_flops:
            known.append(Known(name, own, beaten_by(own, rows, asked.objectives)))
    return known


def sentences(known: list[Known]) -> list[str]:
    """Which of the reports' finals are beaten, and by what."""
    lines = []
    for name, own, better in known:
        cost = f"{name} ({own.parameters:,}; {own.forward / 1e9:.3f} GFLOPs; depth {own.depth})"
        by = f"beaten by {len(better):,} of them, as {name_of(better[0].variant)}" if better else ""
        lines.append(f"{cost}: {by or 'not beaten'}.")
    return lines


def as_json(
    listed: list[Row],
    found: Found,
    asked: Asked,
    predict: Speed,
    known: list[Known],
    files: list[str],
) -> dict[str, Any]:
    """The same as data."""
    space = dict(vars(asked.space))
    if asked.space.max_flops == UNLIMITED:
        space["max_flops"] = None
    return {
        "space": space,
        "grid": found.grid,
        "within": found.within,
        "pareto": len(found.rows),
        "objectives": [f"{way}-{name}" for name, way in asked.objectives],
        "seconds": round(found.seconds, 3),
        "speed": {
            "kind": "predicted" if predict.measured else "relative",
            "label": predict.label,
            "conditions": predict.conditions,
            "networks": predict.networks,
            "errors": [round(error, 4) for error in predict.errors],
        },
        "designs": [
            {
                "name": name_of(row.variant),
                "model": settings_of(row.variant, row.parameters),
                "parameters": row.parameters,
                "flops": {"forward": row.forward, "training": row.training},
                "depth": row.depth,
                "images_per_second": round(row.speed, 1) if predict.measured else None,
                "relative_speed": None if predict.measured else round(row.speed, 4),
            }
            for row in listed
        ],
        "finals": [
            {"name": name, "beaten_by": [name_of(row.variant) for row in better[:10]]}
            for name, _, better in known
        ],
        "written": files,
    }


def write(rows: list[Row], asked: Asked, unbeaten: int) -> list[str]:
    """Write a configuration for each row, ready to train; none over a file that says otherwise."""
    contents: dict[Path, str] = {}
    for row in rows:
        path = asked.out / f"{name_of(row.variant)}.yaml"
        contents[path] = configuration(row, path, asked, unbeaten)
    clashes = [
        f"{path}: holds something else; take another --out, or remove it"
        for path, content in contents.items()
        if path.exists() and not (path.is_file() and path.read_text("utf-8") == content)
    ]
    if clashes:
        raise UserError(*clashes)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise with_path(error, asked.out) from None
    for path, content in contents.items():
        atomic.write_text(path, content)
    return [os.fspath(path) for path in contents]


def configuration(row: Row, path: Path, asked: Asked, unbeaten: int) -> str:
    """The file of one design."""
    better = compared(asked)
    lines = [
        f"# One of the {unbeaten:,} designs within {asked.space.budget:,} parameters that no other",
        f"# one beats in: {better}.",
        "#",
        f"# train:      python -m engine.train --config-file {path}",
        f"# parameters: {row.parameters:,}",
        f"# FLOPs:      {row.forward:,} forward, {row.training:,} training, an image",
        "# recipe:     none of its own: the engine's defaults, or another --config-file with it",
        "model:",
        *(
            f"  {key}: {json.dumps(value)}"
            for key, value in settings_of(row.variant, row.parameters).items()
        ),
    ]
    return "\n".join(lines) + "\n"


def settings_of(variant: Variant, parameters: int) -> dict[str, Any]:
    """`model.*` of a configuration that gives `variant`: what is not said is the default."""
    plain = Variant((1,) * len(variant.blocks))
    settings: dict[str, Any] = {"blocks": list(variant.blocks), "widths": list(variant.widths)}
    for key, value in vars(variant).items():
        if key not in settings and value != getattr(plain, key):
            settings[key] = list(value) if isinstance(value, tuple) else value
    if parameters > Model.budget:
        settings["budget"] = parameters
    return settings


def _speed_name(predict: Speed) -> str:
    return "images/s (predicted)" if predict.measured else "relative speed"


if __name__ == "__main__":
    raise SystemExit(run_command(main))
