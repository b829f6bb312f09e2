"""One run of a benchmark: what its sections need, where their results go, and what is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from benchmarks.measuring import machine
from benchmarks.measuring.results import Results, Unavailable
from benchmarks.measuring.turns import Contender, Pairs, interleave
from engine import atomic
from engine.errors import RunFailed


@dataclass(kw_only=True)
class Benchmark(ABC):
    """What the benchmarks of loader and step have in common."""

    device: str
    threads: int
    batch_size: int
    pairs: int  # of turns, in each comparison
    quick: bool
    target: Path | None  # of the JSON
    say: Callable[[str], None]
    results: Results = field(default_factory=Results)
    load_before: float = field(default_factory=machine.load)

    @abstractmethod
    def goals(self) -> list[dict[str, Any]]:
        """Every goal of this device with its verdict."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """What was measured so far, without goals and conditions."""

    def conditions(self) -> dict[str, Any]:
        """Without these a figure is not a result."""
        return {
            **machine.describe(self.device),
            "threads": self.threads,
            "load_before": self.load_before,
            "load_after": machine.load(),
            "batch_size": self.batch_size,
            "pairs": self.pairs,
            "quick": self.quick,
        }

    def save(self) -> None:
        """Write all results so far: a benchmark that is stopped keeps them."""
        if self.target is not None:
            extra = {"goals": self.goals(), "conditions": self.conditions()}
            atomic.write_json(self.target, self.as_json() | extra)

    def run(self, name: str, section: Callable[[Any], None], *keys: str) -> None:
        """Measure one section; `keys` are the figures that are missing where it fails."""
        self.say(f"{name}: {(section.__doc__ or '').splitlines()[0]}")
        with self.missing_if_it_fails(*(keys or [name])):
            section(self)
        self.save()

    def row(self, title: str, row: dict[str, Any]) -> None:
        """Add a row to the table of this title."""
        self.results.details.setdefault("tables", {}).setdefault(title, []).append(row)
        self.save()

    @contextmanager
    def missing_if_it_fails(self, *keys: str) -> Iterator[None]:
        """What cannot be measured here is missing, with its reason, and the rest goes on."""
        try:
            yield
        except (Unavailable, RunFailed, RuntimeError, SubprocessError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.say(f"  failed: {reason}")
            self.results.without(keys, reason)

    def compare(self, name: str, first: Contender, second: Contender, prefix: str = "") -> Pairs:
        """Pairs of turns; their ratios, and the rates of both under `prefix` and their names."""
        self.say(f"  {first.name} / {second.name}: {self.pairs} pairs")
        pairs = interleave(first, second, self.pairs)
        for each, spread in ((first, pairs.first), (second, pairs.second)):
            self.results.rate(prefix + each.name, each.setting, spread)
        self.results.pairs[name] = pairs
        return pairs
