"""How long runs will take, from what was measured: never a guess where nothing was."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.sweep.plan import PlannedRun
from engine.sweep.results import Record


class Speeds:
    """Operations a second of training, as records of one device have them.

    Where a record has but one epoch, warm-up and compiling are in its speed: it counts where there
    is no better one.
    """

    def __init__(self, records: Iterable[Record], device: str) -> None:
        self.device = device
        self._of_variant: dict[tuple[str, str], list[_Speed]] = {}
        self._of_any: dict[str, list[_Speed]] = {}
        for record in records:
            speed = _speed(record)
            if speed is None or record.get("device") != device:
                continue
            for precision in {_asked(record), record.get("precision")}:
                if isinstance(precision, str):
                    self._of_any.setdefault(precision, []).append(speed)
                    key = (str(record.get("variant")), precision)
                    self._of_variant.setdefault(key, []).append(speed)

    def seconds(self, run: PlannedRun) -> float | None:
        """Of the whole run: as its network was measured, else as any network was; or unknown."""
        precision = run.config.runtime.precision
        same = self._of_variant.get((run.variant, precision))
        known = same or self._of_any.get(precision)
        return None if known is None else run.petaflops * 1e15 / _typical(known)

    def total(self, runs: Sequence[PlannedRun]) -> tuple[float, int]:
        """Seconds of all whose time is known, and how many are not."""
        found = [self.seconds(run) for run in runs]
        return sum(filter(None, found)), found.count(None)

    def basis(self) -> str:
        """What the estimates rest on."""
        parts = []
        for precision, speeds in sorted(self._of_any.items()):
            warm = any(speed.warm for speed in speeds)
            runs = f"{len(speeds)} runs" + ("" if warm else " of one epoch, warm-up included")
            parts.append(f"{precision} {_typical(speeds) / 1e12:.3g} TFLOP/s ({runs})")
        if not parts:
            return f"no run was measured on {self.device}: no times"
        return f"measured on {self.device}: {', '.join(parts)}"


class _Speed(NamedTuple):
    operations: float  # a second
    warm: bool  # the first epoch left out


def _typical(speeds: Sequence[_Speed]) -> float:
    warm = [speed.operations for speed in speeds if speed.warm]
    return statistics.median(warm or [speed.operations for speed in speeds])


def _speed(record: Record) -> _Speed | None:
    """Operations a second, where the record has what it takes."""
    rate, flops = record.get("images_per_second"), record.get("flops")
    if not isinstance(rate, (int, float)) or not isinstance(flops, dict) or rate <= 0:
        return None
    training = flops.get("training")
    if not isinstance(training, (int, float)) or training <= 0:
        return None
    epochs = record.get("epochs")
    return _Speed(float(rate * training), isinstance(epochs, int) and epochs > 1)


def _asked(record: Record) -> Any:
    """The precision that its configuration asks for, such as auto."""
    config = record.get("config")
    runtime = config.get("runtime") if isinstance(config, dict) else None
    return runtime.get("precision") if isinstance(runtime, dict) else None
