"""What the benchmark of the step found: plain numbers under names that stay, goals, one page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import SubprocessError
from typing import Any

from benchmarks.loader.goals import Goal
from benchmarks.loader.page import goals_text
from benchmarks.loader.peers import Unavailable
from benchmarks.measuring.turns import Pairs, Spread
from engine.columns import columns
from engine.errors import RunFailed

KEYS = ("ratio_vs_plain", "images_per_second", "compile_seconds", "tflops", "utilisation")
# these stay, at the top of the JSON, each by variant, whatever else changes
QUICKSTART = "resnet111_w16"

GPU_GOALS = (
    Goal("G2", "200 epochs of resnet453, compiling included", "whole_seconds", 150, False, "s"),
    Goal("G3", "batch 128, of the rate of 1024", "rate_of_128_by_1024", 0.85, True, "%"),
    Goal("G3", "Python a step", "host_seconds", 50e-6, False, "ms"),
    Goal("G3", "GPU idle", "idle_share", 0.03, False, "%"),
    Goal("G4", "second start to its first step", "second_start_seconds", 10, False, "s"),
)


@dataclass
class Found:
    """Filled by one section after the other."""

    by_variant: dict[str, dict[str, float]] = field(default_factory=dict)  # key: variant: number
    figures: dict[str, float] = field(default_factory=dict)  # of one network
    missing: dict[str, str] = field(default_factory=dict)  # a key, or `key variant`: why
    pairs: dict[str, Pairs] = field(default_factory=dict)  # `variant: ours / other`
    settings: dict[str, str] = field(default_factory=dict)  # `variant: name`
    details: dict[str, Any] = field(default_factory=dict)

    def of_variant(self, key: str, variant: str, value: float) -> None:
        """A number of a network; one that is not finite is missing, not nan."""
        if math.isfinite(value):
            self.by_variant.setdefault(key, {})[variant] = value
        else:
            self.missing[f"{key} {variant}"] = f"measured as {value}"

    def figure(self, key: str, value: float) -> None:
        """A number under its own name."""
        if math.isfinite(value):
            self.figures[key] = value
        else:
            self.missing[key] = f"measured as {value}"

    @contextmanager
    def missing_if_it_fails(self, key: str) -> Iterator[None]:
        """What cannot be measured here is missing, with its reason, and the rest goes on."""
        try:
            yield
        except (Unavailable, RunFailed, RuntimeError, SubprocessError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.missing[key] = lines[0]

    def as_json(self) -> dict[str, Any]:
        """The keys that stay on top, then the rest."""
        top = {key: self.by_variant.get(key, {}) for key in KEYS}
        empty = {key: "not measured" for key in KEYS if not top[key]}
        return {
            **top,
            **{key: found for key, found in self.by_variant.items() if key not in KEYS},
            "figures": self.figures,
            "missing": dict(sorted({**empty, **self.missing}.items())),
            "details": {
                "settings": self.settings,
                "pairs": {name: pairs.as_json() for name, pairs in self.pairs.items()},
                **self.details,
            },
        }


def judged(found: Found, *, gpu: bool, bf16: bool) -> list[dict[str, Any]]:
    """Every goal of this device with what was measured."""
    if gpu:
        return [_judged(goal, found.figures.get(goal.key), found) for goal in GPU_GOALS]
    ratios = found.by_variant.get("ratio_vs_plain", {})
    return [
        _judged(_cpu_goal(variant, bf16), ratio, found)  # by variant
        for variant, ratio in ratios.items()
    ]


def _cpu_goal(variant: str, bf16: bool) -> Goal:
    limit = (3.0 if variant == QUICKSTART else 2.5) if bf16 else 1.1
    units = "bf16 units" if bf16 else "no bf16 units"
    what = f"{variant}, times plain PyTorch ({units})"
    return Goal("S1", what, f"ratio_vs_plain {variant}", limit, True, "x")


def _judged(goal: Goal, value: float | None, found: Found) -> dict[str, Any]:
    return {
        "goal": goal.name,
        "what": goal.what,
        "key": goal.key,
        "wanted": goal.wanted(),
        "unit": goal.unit,
        "measured": value,
        "verdict": goal.verdict(value),
        "reason": found.missing.get(goal.key),
    }


def text(found: Found, goals: list[dict[str, Any]], conditions: dict[str, Any]) -> str:
    """All that was found, as a page."""
    parts = [
        _conditions(conditions),
        _rates(found),
        _ratios(found),
        _networks(found),
        *(_rows(title, rows) for title, rows in found.details.get("tables", {}).items()),
        _figures(found),
        goals_text(goals),
        columns(("not measured", "because"), sorted(found.missing.items()), right=set()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _conditions(known: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {known['versions'][name]}" for name in ("torch", "python"))
    lines = [
        f"batch {known['batch_size']}, {known['pairs']} pairs of turns of at least "
        f"{known['seconds_of_a_turn']} s, images from {known['data']}",
        f"{known['cpu']}, {known['threads']} threads on {known['cores']} cores, governor "
        f"{known['governor'] or 'unknown'}, load {known['load_before']:.2f} before and "
        f"{known['load_after']:.2f} after",
        f"{versions}; ours augments in every step, the others find their images ready in memory",
    ]
    if "gpu" in known:
        lines.append(f"{known['gpu']}, CUDA {known['cuda']}")
    if known["quick"]:
        lines.append("--quick: fewer pairs and small batches; indicative only")
    return "\n".join(lines)


def _rates(found: Found) -> str:
    spreads: dict[str, list[float]] = {}
    for name, pairs in found.pairs.items():
        variant, _, both = name.partition(": ")
        for who, spread in zip(both.split(" / "), (pairs.first, pairs.second), strict=True):
            spreads.setdefault(f"{variant}: {who}", []).extend(spread.values)
    rows = [
        (name, *_three(Spread(tuple(values)), "{:,.1f}"), found.settings.get(name, ""))
        for name, values in spreads.items()
    ]
    return columns(("images/s", "median", "min", "max", "setting"), rows, right={1, 2, 3})


def _ratios(found: Found) -> str:
    rows = [(name, *_three(pairs.ratios, "{:.3g}x")) for name, pairs in found.pairs.items()]
    return columns(("how many times faster, pair by pair", "median", "min", "max"), rows)


def _networks(found: Found) -> str:
    variants = list(found.by_variant.get("images_per_second", {}))
    rows = []
    for variant in variants:
        row = [variant]
        for key, shown in SHOWN.items():
            value = found.by_variant.get(key, {}).get(variant)
            row.append("-" if value is None else shown.format(value))
        rows.append(row)
    return columns(("ours", "first steps, s", "TFLOP/s", "of the peak"), rows)


SHOWN = {"compile_seconds": "{:.1f}", "tflops": "{:.3g}", "utilisation": "{:.1%}"}


def _rows(title: str, rows: list[dict[str, Any]]) -> str:
    """A table of a section: rows of one kind, as they lie in the JSON."""
    if not rows:
        return ""
    head = list(rows[0])
    lines = [[_short(row.get(key)) for key in head] for row in rows]
    return f"{title}\n" + columns(head, lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return "-" if value is None else str(value)


def _figures(found: Found) -> str:
    rows = [(key, f"{value:.6g}") for key, value in found.figures.items()]
    return columns(("figure", "measured"), rows)


def _three(spread: Spread, form: str) -> tuple[str, str, str]:
    values = (spread.median, min(spread.values), max(spread.values))
    low, mid, high = (form.format(value) for value in values)
    return low, mid, high
