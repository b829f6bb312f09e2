"""The progress of a sweep on stderr: a live table on a terminal, plain lines in a log.

A thread redraws the table, because a run in this process occupies the main one; it reads records
and uses neither the queue nor an executor.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from engine.runs.console import percent
from engine.runs.progress import duration
from engine.step.rates import Rates
from engine.sweep.estimate import Speeds
from engine.sweep.planned import PlannedRun
from engine.sweep.records import Record, Records

REDRAW_SECONDS = 0.5
MOST_ROWS = 12  # of runs in the table


class LiveView:
    """While entered, the table is redrawn; lines that stay go above it."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        records: Records,
        rates: Mapping[str, Rates],
        slots: int,
        *,
        quiet: bool,
    ) -> None:
        self._runs = {run.fingerprint: run for run in runs}
        self._records, self._rates, self._slots, self._quiet = records, rates, slots, quiet
        self._stream = sys.stderr  # a run in this process sends sys.stderr to its log
        self._live = not quiet and self._stream.isatty()
        self._running: dict[str, float] = {}  # when they began, by fingerprint
        self._set_aside: set[str] = set()
        self._drawn = 0  # lines of the table on the screen
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._redraw, name="table", daemon=True)

    def __enter__(self) -> LiveView:
        if self._live:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._live:
            self._thread.join()
            with self._lock:
                self._erase()

    def note(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """A line that stays, even with --quiet."""
        with self._lock:
            self._erase()
            self._write(line + "\n")

    def began(self, run: PlannedRun) -> None:
        """A run was submitted."""
        with self._lock:
            self._running[run.fingerprint] = time.monotonic()
        if not self._live:
            self.note(f"{run.name}: began ({run.variant}, {run.config.train.epochs} epochs)")

    def done(self, run: PlannedRun, record: Record) -> None:
        """A run has its result."""
        self._forget(run)
        accuracy = record.get("test_accuracy")
        result = percent(accuracy) if isinstance(accuracy, float) else "done"
        seconds = duration(float(record.get("seconds") or 0))
        self.note(f"{run.name}: {result} in {seconds}; {self._summary(self._records)}")

    def stopped(self, run: PlannedRun) -> None:
        """A run stopped with a checkpoint."""
        self._forget(run)
        self.note(f"{run.name}: stopped, checkpoint saved")

    def failed(self, run: PlannedRun, output: str, attempts: int, *, set_aside: bool) -> None:
        """A run has failed in `attempts` attempts."""
        self._forget(run)
        if set_aside:
            self._set_aside.add(run.fingerprint)
        last = output.splitlines()[-1] if output.strip() else "no output"
        what = f"set aside after {attempts} failures" if set_aside else "failed, will be retried"
        self.warn(f"{run.name}: {what}: {last}")

    def _forget(self, run: PlannedRun) -> None:
        with self._lock:
            self._running.pop(run.fingerprint, None)

    def _summary(self, records: Records) -> str:
        done = [f for f in self._runs if records.finished(f) is not None]
        parts = [f"{len(done)} of {len(self._runs)} done"]
        if self._running:
            parts.append(f"{len(self._running)} running")
        if self._set_aside:
            parts.append(f"{len(self._set_aside)} set aside")
        left = [run for f, run in self._runs.items() if f not in done and f not in self._set_aside]
        seconds, unknown = Speeds(records.all(), self._rates).total(left)
        if left and unknown < len(left):
            more = f" and {unknown} of unknown length" if unknown else ""
            parts.append(f"about {duration(seconds / self._slots)} left{more}")
        return ", ".join(parts)

    def _redraw(self) -> None:
        records = Records(self._records.root)  # the main thread has its own
        while not self._over.wait(REDRAW_SECONDS):
            records.refresh()
            with self._lock, contextlib.suppress(Exception):  # a table never stops a sweep
                self._draw(records)

    def _draw(self, records: Records) -> None:
        columns = shutil.get_terminal_size().columns
        lines = []
        for fingerprint, began in list(self._running.items())[:MOST_ROWS]:
            run = self._runs[fingerprint]
            record = records.of(fingerprint) or {}
            whole = run.config.train.epochs
            epochs = f"epoch {min(record.get('epochs', 0), whole)}/{whole}"
            rate = record.get("images_per_second")
            speed = f"{rate:,.0f} images/s" if isinstance(rate, (int, float)) else ""
            passed = duration(time.monotonic() - began)
            lines.append(f"  {run.name}  {run.variant}  {epochs}  {speed}  {passed}")
        self._erase()
        text = [line[: columns - 1] for line in [self._summary(records), *lines]]
        self._write("".join(line + "\n" for line in text))
        self._drawn = len(text)

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError, UnicodeEncodeError):
            self._stream.write(text)
            self._stream.flush()
