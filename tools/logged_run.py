"""Run long commands: their output goes to a log, their progress to one status line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WIDTH = 78  # of the status line on a terminal
SECONDS_BETWEEN_LINES = 30.0  # of status where stderr is not a terminal


class Stop(Exception):
    """The set-up cannot continue; the message says why and what to do."""


def exit_code_of(work: Callable[[], int]) -> int:
    """Do the work of a command; its exit code, also where it cannot continue or is stopped."""
    try:
        return work()
    except Stop as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130


def run(
    title: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> bool:
    """Print `title`, run `command` with its output in `log`; whether it succeeded.

    Ctrl-C ends the command as well, since it is in the same process group.
    """
    print(title, file=sys.stderr, flush=True)
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
            _show_progress(process, log, start)
        finally:
            process.wait()
            if sys.stderr.isatty():
                print("\r" + " " * WIDTH + "\r", end="", file=sys.stderr, flush=True)
    return process.returncode == 0


def require(
    title: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> None:
    """`run`, and `Stop` with the last lines of the log if the command fails."""
    if not run(title, command, log, environment):
        raise Stop("\n".join([f"{title} failed:", *(f"  {line}" for line in last_lines(log, 12))]))


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that are not blank."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-count:]


def _show_progress(process: subprocess.Popen[bytes], log: Path, start: float) -> None:
    terminal = sys.stderr.isatty()
    printed = start
    while True:
        try:
            process.wait(timeout=0.5)
            return
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if terminal or now - printed >= SECONDS_BETWEEN_LINES:
            printed = now
            latest = "".join(last_lines(log, 1)).strip()
            line = f"  {now - start:4.0f} s  {latest}"[:WIDTH]
            text = f"\r{line:<{WIDTH}}" if terminal else f"{line}\n"
            print(text, end="", file=sys.stderr, flush=True)
