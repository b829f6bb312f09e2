"""Which networks fit a budget, and which of them no other one beats: `python -m engine.explore`.

Every design of the family within the limits is counted in closed form, equal to the built network
to the unit; listed is the Pareto set: the designs that no other one beats in all that is compared.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C among the imports below
    from engine import signals

    signals.quit_early()

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.columns import columns
from engine.config.argv import HELP
from engine.config.help import flags_help
from engine.errors import OK, UserError, run_command
from engine.explore import files, options, speed
from engine.explore.designs import UNLIMITED, size
from engine.explore.options import Arguments
from engine.explore.search import Design, SearchResult, beaten_by, design_of, search
from engine.explore.speed import Speed
from engine.model.fitting import build_errors
from engine.model.naming import name_of
from engine.model.variants import ROWS

PROGRAM = "python -m engine.explore"
SUMMARY = (
    "List the designs of the family within a budget that no other one beats (the Pareto set) in "
    "parameters, FLOPs, depth and predicted images/s. LIST is 3,4,5 or 1-8 or 16-64:16."
)
RUNS = Path("runs")
LARGE = 200_000_000  # designs of a grid that takes some time
SORTS: dict[str, Callable[[Design], tuple[float, ...]]] = {  # the best first
    "parameters": lambda design: (-design.parameters, design.forward),
    "flops": lambda design: (design.forward, -design.parameters),
    "depth": lambda design: (-design.depth, -design.parameters),
    "speed": lambda design: (-design.speed, -design.parameters),
}


class Final(NamedTuple):
    """A report's final network, and the designs that beat it."""

    name: str
    design: Design
    better: list[Design]


def main(argv: Sequence[str]) -> int:
    """The command."""
    if any(word in HELP for word in argv):
        sys.stdout.write(flags_help(PROGRAM, SUMMARY, options.OPTIONS))
        return OK
    arguments = options.read(argv)
    predict = speed.from_runs(arguments.runs or RUNS)
    if (grid := size(arguments.space)) > LARGE:
        print(f"comparing a grid of {grid:,} designs", file=sys.stderr)
    result = search(arguments.space, arguments.objectives, predict)
    if not result.designs:
        raise UserError(
            f"none of {result.grid:,} designs is within the limits; raise --budget or --max-flops, "
            "or give smaller --widths and --blocks"
        )
    ordered = sorted(result.designs, key=SORTS[arguments.sort])
    listed = ordered[: arguments.limit] if arguments.limit else ordered
    everything = arguments, predict, result, listed, finals(ordered, arguments, predict)
    written = []
    if arguments.write:
        count, budget = len(result.designs), arguments.space.budget
        origin = [
            f"One of the {count:,} designs within {budget:,} parameters that no other one beats in",
            f"{objectives(arguments)}.",
        ]
        written = files.write(listed[: arguments.write], arguments.out, origin)
    if arguments.json:
        print(json.dumps(as_json(*everything) | {"written": written}, indent=2))
    else:
        print("\n".join([as_text(*everything), *(f"written: {path}" for path in written)]))
    return OK


def finals(designs: list[Design], arguments: Arguments, predict: Speed) -> list[Final]:
    """The reports' final networks within the budget and the FLOPs, and what beats them."""
    space, beaten = arguments.space, []
    for name, row in ROWS.items():
        if not row.final or build_errors(row.variant, space.side):
            continue
        own = design_of(row.variant, space, predict)
        if own.parameters <= space.budget and own.forward <= space.max_flops:
            beaten.append(Final(name, own, beaten_by(own, designs, arguments.objectives)))
    return beaten


def objectives(arguments: Arguments) -> str:
    """The objectives in words."""
    words = {"flops": "FLOPs", "speed": "images/s"}
    return ", ".join(f"{way} {words.get(name, name)}" for name, way in arguments.objectives)


def as_text(
    arguments: Arguments,
    predict: Speed,
    result: SearchResult,
    listed: list[Design],
    finals: list[Final],
) -> str:
    """The table, and below it what was compared with what."""
    space = arguments.space
    unit = "images/s (predicted)" if predict.measured else "relative speed"
    lines = [
        (
            name_of(design.variant), f"{design.parameters:,}", f"{design.forward / 1e9:.3f}",
            f"{design.training / 1e9:.3f}", str(design.depth),
            f"{design.speed:,.0f}" if predict.measured else f"{design.speed:.2f}",
        )
        for design in listed
    ]  # fmt: skip
    text = [columns(("design", "parameters", "GFLOPs", "training", "depth", unit), lines)]
    if more := len(result.designs) - len(listed):
        text.append(f"... and {more:,} more (--limit 0 lists all)")
    limits = f"{space.budget:,} parameters"
    if space.max_flops < UNLIMITED:
        limits += f" and {space.max_flops:,} FLOPs forward"
    text += [
        "",
        f"Pareto set over {objectives(arguments)}:",
        "no other design is as good in each of these and better in one.",
        f"{len(result.designs):,} of {result.within:,} designs within {limits}, "
        f"of a grid of {result.grid:,}; {result.seconds:.1f} s.",
        "GFLOPs: forward, per image; training: forward and backward.",
        f"{predict.label[:1].upper()}{predict.label[1:]}.",
    ]
    for name, own, better in finals:
        costs = f"{own.parameters:,}; {own.forward / 1e9:.3f} GFLOPs; depth {own.depth}"
        verdict = "not beaten"
        if better:
            verdict = f"beaten by {len(better):,} of them, such as {name_of(better[0].variant)}"
        text.append(f"{name} ({costs}): {verdict}.")
    return "\n".join(text)


def as_json(
    arguments: Arguments,
    predict: Speed,
    result: SearchResult,
    listed: list[Design],
    finals: list[Final],
) -> dict[str, Any]:
    """The same as data."""
    space = dict(vars(arguments.space))
    if arguments.space.max_flops == UNLIMITED:
        space["max_flops"] = None
    return {
        "space": space,
        "grid": result.grid,
        "within": result.within,
        "pareto": len(result.designs),
        "objectives": [f"{way}-{name}" for name, way in arguments.objectives],
        "seconds": round(result.seconds, 3),
        "speed": {
            "kind": "predicted" if predict.measured else "relative",
            "label": predict.label,
            "conditions": predict.conditions,
            "networks": predict.networks,
            "errors": [round(error, 4) for error in predict.errors],
        },
        "designs": [
            {
                "name": name_of(design.variant),
                "model": files.settings_of(design),
                "parameters": design.parameters,
                "flops": {"forward": design.forward, "training": design.training},
                "depth": design.depth,
                "images_per_second": round(design.speed, 1) if predict.measured else None,
                "relative_speed": None if predict.measured else round(design.speed, 4),
            }
            for design in listed
        ],
        "finals": [
            {"name": name, "beaten_by": [name_of(other.variant) for other in better[:10]]}
            for name, _, better in finals
        ],
    }


if __name__ == "__main__":
    raise SystemExit(run_command(main))
