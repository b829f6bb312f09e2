"""How long runs will take, from what was measured: never a guess where nothing was."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from engine.sweep.plan import PlannedRun
from engine.sweep.results import Record


class Speeds:
    """Operations a second of training, as records of one device have them."""

    def __init__(self, records: Iterable[Record], device: str) -> None:
        self.device = device
        self._of_variant: dict[tuple[str, str], list[float]] = {}
        self._of_any: dict[str, list[float]] = {}
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
        known = self._of_variant.get((run.variant, precision)) or self._of_any.get(precision)
        return None if known is None else run.petaflops * 1e15 / statistics.median(known)

    def total(self, runs: Sequence[PlannedRun]) -> tuple[float, int]:
        """Seconds of all whose time is known, and how many are not."""
        found = [self.seconds(run) for run in runs]
        return sum(filter(None, found)), found.count(None)

    def basis(self) -> str:
        """What the estimates rest on."""
        parts = [
            f"{precision} {statistics.median(speeds) / 1e12:.3g} TFLOP/s ({len(speeds)} runs)"
            for precision, speeds in sorted(self._of_any.items())
        ]
        if not parts:
            return f"no run was measured on {self.device}: no times"
        return f"measured on {self.device}: {', '.join(parts)}"


def _speed(record: Record) -> float | None:
    """Operations a second, where the record has what it takes."""
    rate, flops = record.get("images_per_second"), record.get("flops")
    if not isinstance(rate, (int, float)) or not isinstance(flops, dict) or rate <= 0:
        return None
    training = flops.get("training")
    return float(rate * training) if isinstance(training, (int, float)) and training > 0 else None


def _asked(record: Record) -> Any:
    """The precision that its configuration asks for, such as auto."""
    config = record.get("config")
    runtime = config.get("runtime") if isinstance(config, dict) else None
    return runtime.get("precision") if isinstance(runtime, dict) else None
