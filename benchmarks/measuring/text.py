"""The parts of a printed page that all benchmarks share: aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.measuring.results import Results
from benchmarks.measuring.units import in_unit
from engine.columns import columns

VERSIONS = ("torch", "torchvision", "ffcv", "numba", "numpy", "python", "engine")
MEDIAN_MIN_MAX = ("median", "min", "max")


def page(*parts: str) -> str:
    """The parts that hold anything, with an empty line between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def conditions(known: dict[str, Any], what: str) -> str:
    """What was measured, on which machine, under which load."""
    versions = known["versions"]
    lines = [
        what,
        f"{known['cpu']}, {known['threads']} threads on {known['cores']} cores, governor "
        f"{known['governor'] or 'unknown'}, load {known['load_before']:.2f} before and "
        f"{known['load_after']:.2f} after",
        ", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions),
    ]
    if "gpu" in known:
        lines.append(f"{known['gpu']}, CUDA {known['cuda']}")
    if known["quick"]:
        lines.append("--quick: small sizes and fewer pairs; indicative only")
    return "\n".join(lines)


def rates(results: Results) -> str:
    """Images/s of every contender, and its setting."""
    rows = [
        (name, *map(_rate, spread.median_min_max), results.settings[name])
        for name, spread in results.all_rates().items()
    ]
    return columns(("images/s", *MEDIAN_MIN_MAX, "setting"), rows, right={1, 2, 3})


def ratios(results: Results) -> str:
    """How many times faster the first of each pair was."""
    rows = [
        (name, *(f"{value:.3g}x" for value in pairs.ratios.median_min_max))
        for name, pairs in results.pairs.items()
    ]
    return columns(("how many times faster, pair by pair", *MEDIAN_MIN_MAX), rows)


def tables(results: Results) -> list[str]:
    """The tables of single sections: rows of one kind, as they are in the JSON."""
    parts = []
    for title, rows in results.details.get("tables", {}).items():
        cells = [[_cell(row.get(key)) for key in rows[0]] for row in rows]
        parts.append(f"{title}\n{columns(list(rows[0]), cells)}")
    return parts


def goals(judged: Sequence[dict[str, Any]]) -> str:
    """Every goal with what was measured and the verdict."""
    rows = [
        (
            each["goal"],
            each["what"],
            each["wanted"],
            "-" if each["measured"] is None else in_unit(each["measured"], each["unit"]),
            each["verdict"],
        )
        for each in judged
    ]
    return columns(("goal", "", "wanted", "measured (median)", "verdict"), rows, right=set())


def missing(results: Results) -> str:
    """What was not measured, and why."""
    return columns(("not measured", "because"), sorted(results.missing.items()), right=set())


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return "-" if value is None else str(value)
