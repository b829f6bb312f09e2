"""How long runs will take, from the speed of earlier runs; unknown where there is none."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.explore.speed import training_speed
from engine.sweep.planned import PlannedRun
from engine.sweep.records import Record


class Speeds:
    """FLOP/s in training, from the records of one device.

    The speed of a run of one epoch includes warm-up and compiling: it counts only where there is
    no longer run.
    """

    def __init__(self, records: Iterable[Record], device: str) -> None:
        self.device = device
        self._speeds: dict[tuple[str | None, str], list[_Speed]] = defaultdict(list)
        for record in records:
            measured = training_speed(record)
            if measured is None or record.get("device") != device:
                continue
            epochs = record.get("epochs")
            speed = _Speed(measured[0] * measured[1], isinstance(epochs, int) and epochs > 1)
            for precision in {_configured_precision(record), record.get("precision")} - {None}:
                for variant in (None, record.get("variant")):  # None: of any network
                    self._speeds[variant, str(precision)].append(speed)

    def seconds(self, run: PlannedRun) -> float | None:
        """Of the whole run, at the speed of its network, else of any network; None if unknown."""
        precision = run.config.runtime.precision
        speeds = self._speeds.get((run.variant, precision)) or self._speeds.get((None, precision))
        return None if speeds is None else run.petaflops * 1e15 / _typical(speeds)

    def total(self, runs: Sequence[PlannedRun]) -> tuple[float, int]:
        """Seconds of all whose time is known, and how many are not."""
        seconds = [self.seconds(run) for run in runs]
        return sum(filter(None, seconds)), seconds.count(None)

    def basis(self) -> str:
        """The measurements behind the estimates."""
        parts = []
        for precision in sorted(precision for variant, precision in self._speeds if not variant):
            speeds = self._speeds[None, precision]
            warm = any(speed.warm for speed in speeds)
            runs = f"{len(speeds)} runs" + ("" if warm else " of one epoch, warm-up included")
            parts.append(f"{precision} {_typical(speeds) / 1e12:.3g} TFLOP/s ({runs})")
        if not parts:
            return f"no finished run on {self.device} yet: hours unknown"
        return f"measured on {self.device}: {', '.join(parts)}"


class _Speed(NamedTuple):
    flops: float  # per second
    warm: bool  # the first epoch left out


def _typical(speeds: Sequence[_Speed]) -> float:
    warm = [speed.flops for speed in speeds if speed.warm]
    return statistics.median(warm or [speed.flops for speed in speeds])


def _configured_precision(record: Record) -> Any:
    """The precision in its configuration, such as auto."""
    config = record.get("config")
    runtime = config.get("runtime") if isinstance(config, dict) else None
    return runtime.get("precision") if isinstance(runtime, dict) else None
