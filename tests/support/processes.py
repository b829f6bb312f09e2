"""Processes of their own: the one way in which tests start any."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.support.paths import ROOT

Words = str | Path
SECONDS = 50  # a stuck process must fail its test, not hang it


def python(*words: Words) -> list[str]:
    """The command of this interpreter: `python("-m", "engine.train", ...)`."""
    return [sys.executable, *map(str, words)]


def run(
    *command: Words,
    cwd: Path = ROOT,
    seconds: float = SECONDS,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, whatever its exit code; `environment` is added to this one."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | dict(environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def succeed(*command: Words, **options: Any) -> str:
    """What `command` prints; it must end with 0."""
    done = run(*command, **options)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def start(
    *command: Words,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    stdin: int | IO[str] | None = subprocess.DEVNULL,
    stdout: int | IO[str] | None = subprocess.PIPE,
    stderr: int | IO[str] | None = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start `command` and return at once; who starts one waits for it."""
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | dict(environment or {}),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )
