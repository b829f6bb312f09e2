"""Turns of training steps: a warm-up that is timed apart, then whole steps, waited for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.step.peers import Trainer, wait

SECONDS = 0.6  # of a turn, at least
USUAL = 2  # last steps of a warm-up; the faster of them counts as a usual step
HOST_STEPS, HOST_ROUNDS = 2, 20  # few steps per round, so that the queue of launches is never full


@dataclass(frozen=True)
class WarmUp:
    """What the first steps of a trainer took."""

    seconds: float  # making it and its first steps
    extra: float  # minus the time of as many usual steps: compiling, choosing kernels, recording
    usual: float  # seconds of a usual step


class StepTurns:
    """One turn of a trainer per call, which returns its images/s."""

    def __init__(self, make: Callable[[], Trainer], seconds: float = SECONDS) -> None:
        began = time.perf_counter()
        self.trainer = make()
        made = time.perf_counter() - began
        self.warm = self._warm_up(made - getattr(self.trainer, "prepare_seconds", 0.0))
        self.name, self.setting = self.trainer.name, self.trainer.setting
        self._count = max(1, round(seconds / self.warm.usual))

    def __call__(self) -> float:
        """Images/s over the steps of a turn."""
        wait(self.trainer.device)
        began = time.perf_counter()
        images = sum(self.trainer.step() for _ in range(self._count))
        wait(self.trainer.device)
        return images / (time.perf_counter() - began)

    def host_seconds(self) -> float:
        """The host's time per step, with the device idle before and not waited for."""
        times = []
        for _ in range(HOST_ROUNDS):
            wait(self.trainer.device)
            began = time.perf_counter()
            for _ in range(HOST_STEPS):
                self.trainer.step()
            times.append((time.perf_counter() - began) / HOST_STEPS)
        return statistics.median(times)

    def close(self) -> None:
        """Close the trainer."""
        self.trainer.close()

    def _warm_up(self, made: float) -> WarmUp:
        times = [self._timed() for _ in range(self.trainer.warm_up)]
        usual = min(times[-USUAL:])
        return WarmUp(made + sum(times), made + sum(times) - len(times) * usual, usual)

    def _timed(self) -> float:
        began = time.perf_counter()
        self.trainer.step()
        wait(self.trainer.device)
        return time.perf_counter() - began
