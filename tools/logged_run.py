"""Long commands with a sign of life: their output goes to a log, one status line to the user."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

WIDTH = 78  # of the status line on a terminal
QUIET_SECONDS = 30.0  # between status lines where there is no terminal


class Stop(Exception):
    """The set-up cannot go on; its text says why and what to do."""


def run(
    what: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> bool:
    """Run `command` with its output in `log`, tell the user `what` is going on, say if it worked.

    Ctrl-C ends the command as well: it is in our process group, and we wait for it.
    """
    print(what, file=sys.stderr, flush=True)
    start = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        try:
            _watch(process, log, start)
        finally:
            process.wait()
            _clear_line()
    return process.returncode == 0


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that say something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-count:]


def _watch(process: subprocess.Popen[bytes], log: Path, start: float) -> None:
    live = sys.stderr.isatty()
    told = start
    while True:
        try:
            process.wait(timeout=0.5)
            return
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if live or now - told >= QUIET_SECONDS:
            told = now
            latest = "".join(last_lines(log, 1)).strip()
            line = f"  {now - start:4.0f} s  {latest}"[:WIDTH]
            print(f"\r{line:<{WIDTH}}" if live else line, end="" if live else "\n", file=sys.stderr)
            sys.stderr.flush()


def _clear_line() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * WIDTH + "\r", end="", file=sys.stderr, flush=True)
