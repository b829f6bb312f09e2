"""The step's benchmark: the trainers of its sections, its JSON and its conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.measuring.benchmark import Benchmark
from benchmarks.measuring.goals import judged
from benchmarks.step.goals import GPU_GOALS, JUDGED, KEYS, QUICKSTART, cpu_goals
from benchmarks.step.peer_process import PeerProcess
from benchmarks.step.peers import Trainer, Workload
from benchmarks.step.peers.ours import Ours
from benchmarks.step.turns import StepTurns
from engine.config.schema import Runtime
from engine.step.device import has_bf16_units

Row = TypeVar("Row")
SIZES = (128, 256, 512, 1024)  # batches of the sections that compare several
QUICKSTART_EPOCHS = 3  # of configs/quickstart.yaml; all others are trained for 200


@dataclass(kw_only=True)
class StepBenchmark(Benchmark):
    """Trainers on one training set."""

    path: Path
    variants: tuple[str, ...]
    seconds: float  # of a turn, at least
    cache: Path  # of compiled code; empty at the start, unless one was named
    sizes: tuple[int, ...] = SIZES
    keeps_cache: bool = False

    @property
    def network(self) -> str:
        """The one network of the sections that measure only one."""
        return JUDGED if JUDGED in self.variants else self.variants[0]

    def workload(self, variant: str, batch_size: int | None = None) -> Workload:
        """Training `variant` on this device."""
        size = batch_size or self.batch_size
        workload = Workload(variant, size, self.path, self.device, self.threads)
        return replace(workload, epochs=QUICKSTART_EPOCHS) if variant == QUICKSTART else workload

    def some(self, variations: Mapping[str, Row]) -> dict[str, Row]:
        """All of them, or the first two where it must be quick."""
        return dict(list(variations.items())[: 2 if self.quick else None])

    def ours(self, workload: Workload, runtime: Runtime | None = None, **settings: Any) -> Ours:
        """The engine's step with its compiled code below the benchmark's own folder."""
        return Ours(workload, runtime, cache=str(self.cache), **settings)

    @contextlib.contextmanager
    def peer(self, kind: str, workload: Workload) -> Iterator[PeerProcess]:
        """A warm trainer in a process of its own."""
        self.say(f"  {kind}: warm-up")
        with contextlib.closing(
            PeerProcess(kind, workload, str(self.cache), self.seconds)
        ) as trainer:
            yield trainer

    @contextlib.contextmanager
    def ready(self, what: str, make: Callable[[], Trainer]) -> Iterator[StepTurns]:
        """A warm trainer in this process; closed at the end."""
        self.say(f"  {what}: warm-up")
        with contextlib.closing(StepTurns(make, self.seconds)) as turns:
            yield turns

    def goals(self) -> list[dict[str, Any]]:
        """Every goal of this device with its verdict."""
        if self.device != "cpu":
            return judged(GPU_GOALS, self.results)
        variants = self.results.by_variant.get("ratio_vs_plain", {})
        bf16 = has_bf16_units(torch.device(self.device))
        return judged(cpu_goals(variants, bf16=bf16), self.results)

    def as_json(self) -> dict[str, Any]:
        """The keys that stay on top, each by variant."""
        top = {key: self.results.by_variant.get(key, {}) for key in KEYS}
        top |= self.results.by_variant
        return self.results.as_json(top, settings=self.results.settings)

    def conditions(self) -> dict[str, Any]:
        """With the networks, and what the trainers are fed."""
        return super().conditions() | {
            "data": self.path.name,
            "variants": list(self.variants),
            "seconds_of_a_turn": self.seconds,
            "compile_cache": "kept" if self.keeps_cache else "empty at the beginning",
            "fed": "ours by its loader, augmented in every step; the others by ready, normalised "
            "images in memory, without augmentation",
        }
