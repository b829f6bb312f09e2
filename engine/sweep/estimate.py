"""How long runs will take, from the speed of earlier runs; unknown where there is none."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.sweep.plan import PlannedRun
from engine.sweep.records import Record


class Speeds:
    """FLOP/s in training, from the records of one device.

    The speed of a run of one epoch includes warm-up and compiling: it counts only where there is
    no longer run.
    """

    def __init__(self, records: Iterable[Record], device: str) -> None:
        self.device = device
        self._of_variant: dict[tuple[str, str], list[_Speed]] = {}
        self._of_any: dict[str, list[_Speed]] = {}
        for record in records:
            speed = _speed(record)
            if speed is None or record.get("device") != device:
                continue
            for precision in {_configured_precision(record), record.get("precision")}:
                if isinstance(precision, str):
                    self._of_any.setdefault(precision, []).append(speed)
                    key = (str(record.get("variant")), precision)
                    self._of_variant.setdefault(key, []).append(speed)

    def seconds(self, run: PlannedRun) -> float | None:
        """Of the whole run, at the speed of its network, else of any network; None if unknown."""
        precision = run.config.runtime.precision
        same = self._of_variant.get((run.variant, precision))
        known = same or self._of_any.get(precision)
        return None if known is None else run.petaflops * 1e15 / _typical(known)

    def total(self, runs: Sequence[PlannedRun]) -> tuple[float, int]:
        """Seconds of all whose time is known, and how many are not."""
        seconds = [self.seconds(run) for run in runs]
        return sum(filter(None, seconds)), seconds.count(None)

    def basis(self) -> str:
        """The measurements behind the estimates."""
        parts = []
        for precision, speeds in sorted(self._of_any.items()):
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


def _speed(record: Record) -> _Speed | None:
    """The speed of a run, where its record has one."""
    rate, flops = record.get("images_per_second"), record.get("flops")
    if not isinstance(rate, (int, float)) or not isinstance(flops, dict) or rate <= 0:
        return None
    training = flops.get("training")
    if not isinstance(training, (int, float)) or training <= 0:
        return None
    epochs = record.get("epochs")
    return _Speed(float(rate * training), isinstance(epochs, int) and epochs > 1)


def _configured_precision(record: Record) -> Any:
    """The precision in its configuration, such as auto."""
    config = record.get("config")
    runtime = config.get("runtime") if isinstance(config, dict) else None
    return runtime.get("precision") if isinstance(runtime, dict) else None
