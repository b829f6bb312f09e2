"""What a benchmark measured: figures, rates, pairs of turns, and why a figure is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measuring.turns import Pairs, Spread


class Unavailable(Exception):
    """This machine cannot run a contender: its figures are missing, for this reason."""


@dataclass
class Results:
    """Filled by one section after the other."""

    figures: dict[str, float] = field(default_factory=dict)
    by_variant: dict[str, dict[str, float]] = field(default_factory=dict)  # of one network each
    missing: dict[str, str] = field(default_factory=dict)  # `key` or `key variant`: why
    rates: dict[str, list[Spread]] = field(default_factory=dict)  # images/s of each contender
    settings: dict[str, str] = field(default_factory=dict)  # of each contender
    pairs: dict[str, Pairs] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def figure(self, key: str, value: float, variant: str = "") -> None:
        """Note a number, of one network where `variant` names it; if not finite, it is missing."""
        if not math.isfinite(value):
            self.missing[f"{key} {variant}".rstrip()] = f"measured as {value}"
        elif variant:
            self.by_variant.setdefault(key, {})[variant] = value
        else:
            self.figures[key] = value

    def value(self, key: str, variant: str = "") -> float | None:
        """A number, or None where it is missing."""
        return self.by_variant.get(key, {}).get(variant) if variant else self.figures.get(key)

    def without(self, keys: tuple[str, ...], reason: str) -> None:
        """Those of `keys` that were not measured are missing for this reason."""
        for key in keys:
            if key not in self.figures:
                self.missing.setdefault(key, reason)

    def rate(self, name: str, setting: str, spread: Spread) -> None:
        """Note the images/s of a contender."""
        self.rates.setdefault(name, []).append(spread)
        self.settings[name] = setting

    def all_rates(self) -> dict[str, Spread]:
        """Every turn of each contender, whatever it was paired with."""
        return {
            name: Spread(tuple(value for spread in spreads for value in spread.values))
            for name, spreads in self.rates.items()
        }

    def as_json(self, top: Mapping[str, Any], **details: Any) -> dict[str, Any]:
        """The figures `top`, whose keys stay whatever else changes, then the rest."""
        absent = {key: "not measured" for key, value in top.items() if value in (None, {})}
        return {
            **top,
            "figures": {key: value for key, value in self.figures.items() if key not in top},
            "missing": dict(sorted({**absent, **self.missing}.items())),
            "details": {
                **details,
                "pairs": {name: pairs.as_json() for name, pairs in self.pairs.items()},
                **self.details,
            },
        }
