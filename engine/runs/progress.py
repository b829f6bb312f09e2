"""A progress bar on a terminal, plain lines in a log.

All of it goes to stderr; stdout carries results. Where stderr is not a terminal there is neither
a bar nor colour. A closed terminal never stops a run.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time

from engine.escaping import escaped

REDRAW_SECONDS = 0.1
FILLED, EMPTY = "━", "─"


class Progress:
    """The bar of one run; its loss is that of the last epoch, so it never waits for the device."""

    def __init__(
        self, epochs: float, steps: int, all_steps: int, samples: int, quiet: bool
    ) -> None:
        self._epochs, self._steps, self._samples = epochs, steps, samples
        self._all_steps = all_steps  # of the run; `steps` are those of a whole epoch
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._started = self._drawn = time.monotonic()
        self._first_step: int | None = None
        self._last = ""

    def say(self, line: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            self._write(("\r\x1b[2K" if self._live else "") + line + "\n")

    def warn(self, line: str) -> None:
        """Print a line, also when quiet."""
        self._write(("\r\x1b[2K" if self._live else "") + escaped(line) + "\n")

    def step(self, epoch: int, step: int) -> None:
        """`step` steps of epoch `epoch` (counted from 0) were queued on the device."""
        done = epoch * self._steps + step
        if self._first_step is None:
            self._first_step, self._started = done, time.monotonic()
        now = time.monotonic()
        if not self._live or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        steps = done - self._first_step
        rate = steps / (now - self._started) if steps else 0.0
        images = rate * self._samples / self._steps
        left = (self._all_steps - done) / rate if rate else 0.0
        text = (
            f" epoch {min(epoch + 1, self._epochs)}/{self._epochs}  {images:,.0f} images/s"
            f"  {duration(left)} left  {self._last}"
        )
        columns = shutil.get_terminal_size().columns
        width = max(8, min(30, columns - len(text) - 1))
        of = min(self._steps, self._all_steps - epoch * self._steps)  # the last may be a part
        filled = round(width * step / of)
        bar = FILLED * filled + EMPTY * (width - filled)
        self._write("\r\x1b[2K" + (bar + text)[: columns - 1])

    def epoch(self, line: str, short: str) -> None:
        """Print the epoch's `line`; show `short` beside the bar until the next."""
        self._last = short
        self.say(line)

    def close(self) -> None:
        """Remove the bar."""
        if self._live:
            self._write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError, UnicodeEncodeError):
            sys.stderr.write(text)
            sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3:05, 1:02:09."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
