"""What a benchmark found: plain numbers under names that stay, everything else beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.loader.peers import Unavailable
from benchmarks.measuring.turns import Pairs, Spread

KEYS = (
    "ratio_uint8_vs_ffcv",
    "ratio_float_vs_ffcv",
    "ratio_uint8_vs_torchvision",
    "gather_fraction_of_ceiling",
    "images_per_second_uint8",
    "first_batch_seconds_warm",
    "first_batch_seconds_cold",
)  # these stay, at the top of the JSON, whatever else changes


@dataclass
class Findings:
    """Filled by one section after the other."""

    numbers: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # a key or a section: why
    rates: dict[str, list[Spread]] = field(default_factory=dict)  # images/s of each loader
    settings: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def number(self, key: str, value: float) -> None:
        """A figure of its own name; one that is not finite is missing, not nan."""
        if math.isfinite(value):
            self.numbers[key] = value
        else:
            self.missing[key] = f"measured as {value}"

    def rate(self, name: str, setting: str, spread: Spread) -> None:
        """Images a second of a loader."""
        self.rates.setdefault(name, []).append(spread)
        self.settings[name] = setting

    @contextmanager
    def missing_if_unavailable(self, *keys: str) -> Iterator[None]:
        """What cannot be measured here is missing, with its reason, and the rest goes on."""
        try:
            yield
        except Unavailable as error:
            for key in keys:
                self.missing[key] = str(error)

    def value(self, key: str) -> float | None:
        """A number, or None where it is missing."""
        return self.numbers.get(key)

    def all_rates(self) -> dict[str, Spread]:
        """Every turn of each loader, whatever it was paired with."""
        return {
            name: Spread(tuple(value for spread in spreads for value in spread.values))
            for name, spreads in self.rates.items()
        }

    def as_json(self) -> dict[str, Any]:
        """The numbers on top, null where missing; the rest below."""
        top: dict[str, Any] = {key: self.numbers.get(key) for key in KEYS}
        for key in KEYS:
            if top[key] is None:
                self.missing.setdefault(key, "not measured")
        return {
            **top,
            "missing": dict(sorted(self.missing.items())),
            "figures": {k: v for k, v in self.numbers.items() if k not in KEYS},
            "details": {
                "images_per_second": {
                    name: {"setting": self.settings[name], **spread.as_json()}
                    for name, spread in self.all_rates().items()
                },
                "pairs": {name: pairs.as_json() for name, pairs in self.pairs.items()},
                **self.details,
            },
        }
