"""Measurements in processes of their own: a task as JSON goes in, an answer as JSON comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import RunFailed

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_STOP = 25.0  # until the checkpoint of a run that is stopped is written
CACHES = {  # compiled code of torch, Triton and Numba: folders below the one for a benchmark
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "NUMBA_CACHE_DIR": "numba",
}


def cache_variables(folder: Path) -> dict[str, str]:
    """What leads every compile cache to a place below `folder`."""
    return {variable: str(folder / name) for variable, name in CACHES.items()}


def run_python(
    *words: str, cache: Path, seconds: float, stops: bool = False
) -> subprocess.CompletedProcess[str]:
    """`python words` with this code first on its path and its compile caches below `cache`.

    At the end of its time it is killed, which raises; one that `stops` is asked to first, and what
    it then ends with counts.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, *words]
    with subprocess.Popen(
        command,
        env=os.environ | cache_variables(cache) | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output = _communicate(process, seconds, stops)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, *output)


def _communicate(process: subprocess.Popen[str], seconds: float, stops: bool) -> tuple[str, str]:
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        if not stops:
            raise
    process.terminate()
    return process.communicate(timeout=SECONDS_TO_STOP)


def answer(
    module: str,
    task: Mapping[str, Any],
    *,
    cache: Path,
    seconds: float,
    may_crash: bool = False,
) -> tuple[dict[str, Any], int]:
    """What `python -m module TASK` prints in its last line, and its exit code.

    `started`, the clock when the process was started, is added to the task. A process that
    `may_crash` may fail after it has printed its answer.
    """
    argument = json.dumps({**task, "started": time.monotonic()})
    done = run_python("-m", module, argument, cache=cache, seconds=seconds)
    lines = done.stdout.strip().splitlines()
    if not lines or (done.returncode and not may_crash):
        raise RunFailed(f"python -m {module} failed: {last_error(done)}")
    content: dict[str, Any] = json.loads(lines[-1])
    return content, done.returncode


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process printed to stderr."""
    return (done.stderr.strip().splitlines() or ["no message"])[-1]
