"""Wall time of a run: all of it, and how much of the current epoch was training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Timer:
    """Runs from its making; both times go on from what earlier sessions spent.

    The times are computed when they are read, so they are right at any moment.
    """

    def __init__(self, seconds: float = 0.0, epoch_seconds: float = 0.0) -> None:
        now = time.monotonic()
        self._began = now - seconds
        self._trained = epoch_seconds
        self._resumed: float | None = now  # None while training is paused

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return time.monotonic() - self._began

    @property
    def epoch_seconds(self) -> float:
        """Of training in the current epoch."""
        running = 0.0 if self._resumed is None else time.monotonic() - self._resumed
        return self._trained + running

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here is not training; a pause within a pause changes nothing."""
        if self._resumed is None:
            yield
            return
        self._trained, self._resumed = self.epoch_seconds, None
        try:
            yield
        finally:
            self._resumed = time.monotonic()

    def begin_epoch(self) -> None:
        """Count the training of the next epoch from zero."""
        self._trained = 0.0
        if self._resumed is not None:
            self._resumed = time.monotonic()
