"""The first signal asks a command to stop, the second one ends it at once.

A terminal that is closed sends SIGHUP, and its shell may send it again: it asks like the others,
and never counts as the second. Where it is ignored (nohup) it stays ignored.

A command imports for seconds before it can do anything. So that signals are handled then too, it
calls `listen_early` or `quit_early` before those imports.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from engine import output

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

SECONDS_BETWEEN_CHECKS = 0.2  # whether the parent is still there


class Stop:
    """While entered, a signal only sets `requested`; a second one ends the process at once."""

    early: Stop | None = None  # begun by `listen_early`, taken over by the next one

    def __init__(self) -> None:
        self.requested = False
        self._insisting = False  # the next signal ends the process
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        for number in SIGNALS:
            if not ignores_hangup() or number != signal.SIGHUP:
                self._previous[number] = signal.signal(number, self._receive)
        if Stop.early is not None:
            self.requested |= Stop.early.requested
            self._insisting |= Stop.early._insisting
            self._previous, Stop.early = Stop.early._previous, None
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._insisting and number != signal.SIGHUP:
            os._exit(128 + number)
        self._insisting |= number != signal.SIGHUP
        self.requested = True


def ignores_hangup() -> bool:
    """Whether SIGHUP is ignored, as `nohup` leaves it."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def listen_early() -> None:
    """Remember signals from now on for the `Stop` that is entered later."""
    output.ensure_open()
    Stop.early = Stop().__enter__()


def end_with(parent: int) -> None:
    """Send SIGTERM to this process, once, when `parent` is gone, for whatever reason.

    Linux could do that (PR_SET_PDEATHSIG), but sends it for each dying thread of the parent, and
    the second signal would end this process before it has saved.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_CHECKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def quit_early() -> None:
    """Until `restore_ctrl_c`, Ctrl-C ends the process with one line and exit code 130."""
    output.ensure_open()
    signal.signal(signal.SIGINT, _quit)


def restore_ctrl_c() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _quit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quit(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: stopped by Ctrl-C\n")
    os._exit(130)
