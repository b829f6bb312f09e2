"""The progress of a sweep on stderr: a live table on a terminal, plain lines in a log.

A thread redraws the table, because a run in this process occupies the main one; it reads the
records of the runs that it shows, and uses neither the queue nor an executor. What is done is
counted as it happens: a sweep may have 100,000 runs.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.errors import UserError
from engine.runs.console import percent
from engine.runs.directory import read_json
from engine.runs.progress import duration
from engine.step.rates import Rates
from engine.sweep.estimate import Remaining, Speeds
from engine.sweep.planned import PlannedRun
from engine.sweep.records import Record, Records

REDRAW_SECONDS = 0.5
MOST_ROWS = 12  # of runs in the table
SHARE = 0.02  # of the time, at most, for estimates


class LiveView:
    """While entered, the table is redrawn; lines that stay go above it."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        records: Records,
        rates: Mapping[str, Rates],
        slots: Callable[[], int],
        *,
        quiet: bool,
    ) -> None:
        self._runs = {run.fingerprint: run for run in runs}
        self._records, self._rates, self._slots, self._quiet = records, rates, slots, quiet
        self._stream = sys.stderr  # a run in this process sends sys.stderr to its log
        self._live = not quiet and self._stream.isatty()
        self._running: dict[str, tuple[Path, float]] = {}  # folder and beginning, by fingerprint
        self._done: set[str] = set()
        self._set_aside: set[str] = set()
        self._remaining = Remaining(runs)
        self._speeds, self._speeds_until = Speeds((), rates), -math.inf
        self._drawn = 0  # lines of the table on the screen
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._redraw, name="table", daemon=True)
        self.recount()

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

    def began(self, run: PlannedRun, folder: Path) -> None:
        """A run was submitted."""
        with self._lock:
            self._running[run.fingerprint] = (folder, time.monotonic())
        if not self._live:
            self.note(f"{run.name}: began ({run.variant}, {run.config.train.epochs} epochs)")

    def done(self, run: PlannedRun, record: Record) -> None:
        """A run has its result."""
        self._forget(run)
        self._add_done(run)
        accuracy = record.get("test_accuracy")
        result = percent(accuracy) if isinstance(accuracy, float) else "done"
        seconds = duration(float(record.get("seconds") or 0))
        self.note(f"{run.name}: {result} in {seconds}; {self._summary()}")

    def done_elsewhere(self, run: PlannedRun) -> None:
        """Another process has made the result of a run before it began here."""
        self._add_done(run)
        self.note(f"{run.name}: already done elsewhere; skipped")

    def busy(self, run: PlannedRun, *, first: bool) -> None:
        """A run is running in another process; said once."""
        self._forget(run)
        if first:
            self.note(f"{run.name}: already running in another process; skipped")

    def recount(self) -> None:
        """Look at all records for runs that another process has finished."""
        for fingerprint, run in self._runs.items():
            if fingerprint not in self._done and self._records.finished(fingerprint) is not None:
                self._add_done(run)

    def stopped(self, run: PlannedRun) -> None:
        """A run stopped with a checkpoint."""
        self._forget(run)
        self.note(f"{run.name}: stopped, checkpoint saved")

    def lost(self, run: PlannedRun, host: str) -> None:
        """The place where a run was is gone."""
        self._forget(run)
        self.warn(f"{run.name}: lost with {host or 'its place'}; it will go on elsewhere")

    def failed(self, run: PlannedRun, output: str, attempts: int, *, set_aside: bool) -> None:
        """A run has failed in `attempts` attempts."""
        self._forget(run)
        if set_aside and run.fingerprint not in self._set_aside | self._done:
            self._set_aside.add(run.fingerprint)
            self._remaining.remove(run)
        last = output.splitlines()[-1] if output.strip() else "no output"
        what = f"set aside after {attempts} failures" if set_aside else "failed, will be retried"
        self.warn(f"{run.name}: {what}: {last}")

    def _forget(self, run: PlannedRun) -> None:
        with self._lock:
            self._running.pop(run.fingerprint, None)

    def _add_done(self, run: PlannedRun) -> None:
        with self._lock:
            if run.fingerprint not in self._done:
                self._done.add(run.fingerprint)
                if run.fingerprint not in self._set_aside:
                    self._remaining.remove(run)

    def _summary(self, running: Sequence[Record] = ()) -> str:
        parts = [f"{len(self._done)} of {len(self._runs)} done"]
        if self._running:
            parts.append(f"{len(self._running)} running")
        if self._set_aside:
            parts.append(f"{len(self._set_aside)} set aside")
        began = time.monotonic()
        if began >= self._speeds_until:
            self._speeds = Speeds([*self._records.all(), *running], self._rates)
            now = time.monotonic()
            self._speeds_until = now + (now - began) / SHARE
        seconds, unknown, left = self._remaining.total(self._speeds)
        if left and unknown < left:
            more = f" and {unknown} of unknown length" if unknown else ""
            parts.append(f"about {duration(seconds / max(1, self._slots()))} left{more}")
        return ", ".join(parts)

    def _redraw(self) -> None:
        while not self._over.wait(REDRAW_SECONDS):
            with self._lock, contextlib.suppress(Exception):  # a table never stops a sweep
                self._draw()

    def _draw(self) -> None:
        columns = shutil.get_terminal_size().columns
        lines, records = [], []
        for fingerprint, (folder, began) in list(self._running.items())[:MOST_ROWS]:
            run = self._runs[fingerprint]
            record = _record_in(folder)
            records.append(record)
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


def _record_in(folder: Path) -> Record:
    """The record in a folder; empty where there is none that can be read."""
    with contextlib.suppress(OSError, UserError):
        return read_json(folder / "record.json") or {}
    return {}
