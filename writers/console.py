"""Messages and a progress bar on stderr, and Ctrl-C while files are written."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from engine.escaping import escaped

_BAR = 30
_SECONDS_BETWEEN = 0.1


class Console:
    """Messages on stderr, and a progress bar if that is a terminal; neither with `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar = not quiet and sys.stderr.isatty()
        self._last = 0.0

    def say(self, text: str) -> None:
        """Print one line."""
        if not self.quiet:
            print(escaped(text), file=sys.stderr, flush=True)

    def progress(self, label: str) -> Callable[[int, int], None]:
        """A function that shows (done, total); it may be called often."""

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if not self.bar or (done < total and now - self._last < _SECONDS_BETWEEN):
                return
            self._last = now
            filled = _BAR * done // max(total, 1)
            line = f"\r{label} [{'#' * filled:<{_BAR}}] {done:,} of {total:,}"
            print(f"{line}\x1b[K" if done < total else "\r\x1b[K", end="", file=sys.stderr)
            sys.stderr.flush()

        return show


class CtrlC:
    """Ctrl-C raises at once, can be deferred, and is not lost in code that swallows exceptions.

    FFCV and the libraries it imports do so in places: `check` raises again what was lost there.
    After `defer`, files are being renamed and it is too late to stop. What Python cannot raise any
    more, of an object that Ctrl-C left half made, is not printed.
    """

    def __init__(self) -> None:
        self.pressed = self.deferred = False

    def __enter__(self) -> CtrlC:
        self._before = signal.signal(signal.SIGINT, self._handle)
        self._report, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if not self.pressed:  # else half-made objects are still to be freed
            sys.unraisablehook = self._report

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C has been pressed."""
        if self.pressed:
            raise KeyboardInterrupt

    def defer(self) -> None:
        """Raise if Ctrl-C has been pressed; from now on it has no effect."""
        self.deferred = True
        self.check()

    def _unraisable(self, what: Any) -> None:
        if not self.pressed:
            self._report(what)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        if not self.deferred:
            raise KeyboardInterrupt
