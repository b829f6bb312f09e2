"""What the step's benchmark prints: aligned plain text, each figure with its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.measuring import text as shared
from benchmarks.measuring.results import Results
from engine.columns import columns

OF_A_NETWORK = {  # figures: title and form
    "compile_seconds": ("first steps, s", "{:.1f}"),
    "tflops": ("TFLOP/s", "{:.3g}"),
    "utilisation": ("of the peak", "{:.1%}"),
}


def text(results: Results, goals: Sequence[dict[str, Any]], conditions: dict[str, Any]) -> str:
    """All results as a page."""
    return shared.page(
        shared.conditions(
            conditions,
            f"batch {conditions['batch_size']}, {conditions['pairs']} pairs of turns of at least "
            f"{conditions['seconds_of_a_turn']} s, images from {conditions['data']}; ours augments "
            "in every step, the others find their images ready in memory",
        ),
        shared.rates(results),
        shared.ratios(results),
        _networks(results),
        *shared.tables(results),
        columns(
            ("figure", "measured"),
            [(key, f"{value:.6g}") for key, value in results.figures.items()],
        ),
        shared.goals(goals),
        shared.missing(results),
    )


def _networks(results: Results) -> str:
    rows = []
    for variant in results.by_variant.get("images_per_second", {}):
        values = [(results.value(key, variant), form) for key, (_, form) in OF_A_NETWORK.items()]
        rows.append([variant, *("-" if v is None else form.format(v) for v, form in values)])
    return columns(("ours", *(title for title, _ in OF_A_NETWORK.values())), rows)
