"""When checkpoints are due: by epochs and steps, but not sooner than some seconds after another.

Ranks have clocks of their own and agree, since all of them take part in a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.config.schema import Checkpoint
from engine.runs.counters import Counters
from engine.step.device import Machine
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means

SECONDS_APART_ON_A_GPU = 30.0


class Saving:
    """Ask it after each step and each epoch; what it says is due is then saved."""

    def __init__(
        self,
        settings: Checkpoint,
        machine: Machine,
        ranks: Ranks = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        apart = settings.seconds_apart
        if isinstance(apart, str):
            apart = SECONDS_APART_ON_A_GPU if machine.device.type == "cuda" else 0.0
        self._settings, self._apart, self._ranks = settings, apart, ranks
        self._clock, self._last = clock, clock()

    def after_step(self, counters: Counters) -> bool:
        """Whether a checkpoint within the epoch is due."""
        every = self._settings.every_steps
        return bool(every) and counters.step % every == 0 and self._long_ago()

    def after_epoch(
        self, counters: Counters, epochs: int, evaluated: Means | None
    ) -> tuple[bool, bool]:
        """Whether a checkpoint is due, and whether its weights are the best to keep."""
        every, epoch = self._settings.every_epochs, counters.epoch
        due = epoch == epochs or (bool(every) and epoch % every == 0 and self._long_ago())
        best = self._settings.best and evaluated is not None and counters.best_epoch == epoch
        return due, best

    def _long_ago(self) -> bool:
        """Whether the last one is long enough ago; if so, the next is counted from now."""
        if not self._apart:
            return True
        now = self._clock()
        long = self._ranks.any(now - self._last >= self._apart)
        if long:
            self._last = now
        return long
