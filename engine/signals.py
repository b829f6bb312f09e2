"""A polite stop: the first signal asks, the second one insists.

The commands import for seconds before they can do anything. A signal then must be as polite as
later, so they call `listen_early` or `quit_early` before those imports.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stop:
    """While entered, a signal only sets `requested`; a second one ends the process at once."""

    early: Stop | None = None  # what `listen_early` began, taken over by the next one

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        if Stop.early is not None:
            self.requested |= Stop.early.requested
            self._previous, Stop.early = Stop.early._previous, None
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True


def listen_early() -> None:
    """Note signals from now on for the `Stop` that will be entered later."""
    Stop.early = Stop().__enter__()


def quit_early() -> None:
    """Until `quit_no_more`, Ctrl-C ends the process with one line and exit code 130."""
    signal.signal(signal.SIGINT, _quit)


def quit_no_more() -> None:
    """Ctrl-C raises KeyboardInterrupt again, as Python's own."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quit(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: stopped by Ctrl-C\n")
    os._exit(130)
