"""NVIDIA's Multi-Process Service (MPS) for the runs of a sweep that share a GPU.

Without it processes on one GPU take turns, and kernels of two never run at the same time; with it
they do, as those of one process would. Each GPU has a daemon of its own, since a fatal fault of one
process ends all that its daemon serves. The daemon stops with this process, however that ends:
`engine.sweep.mps_keeper`, which started it, sees the end of a pipe.

The daemon's sockets lie in a temporary folder: their paths may be 107 characters long, and must
not be on a network's file system. Its logs are below the sweep's folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.errors import UserError
from engine.sweep.executor import last_lines
from engine.sweep.mps_keeper import LOGS, PIPES, PROGRAM

VISIBLE = "CUDA_VISIBLE_DEVICES"
SLICES, MPS = "slices", "mps"  # how processes share a GPU
MOST = 48  # processes that one daemon serves
START_SECONDS = 20.0
STOP_SECONDS = 20.0  # after that the keeper goes on alone


@dataclass(frozen=True)
class _Daemon:
    keeper: subprocess.Popen[bytes]
    environment: dict[str, str]  # of the processes that it serves


class Mps:
    """While entered, a daemon for each of `devices`, as `Processes` has them.

    `count` is the number of GPUs that this process sees: a daemon numbers its GPUs from 0, and
    None means all that are visible.
    """

    def __init__(self, devices: Sequence[str | None], count: int, logs: Path) -> None:
        self._devices, self._count, self._logs = tuple(devices), count, logs
        self._daemons: dict[str | None, _Daemon] = {}

    def __enter__(self) -> Mps:
        program = shutil.which(PROGRAM)
        if program is None:
            raise UserError(
                f"--share mps: {PROGRAM} is not installed (it comes with NVIDIA's driver); use "
                "--share slices"
            )
        try:
            for device in self._devices:
                self._daemons[device] = self._start(program, device)
            for device in self._devices:
                self._wait_for(device)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def environment(self, device: str | None) -> dict[str, str]:
        """What a process needs in its environment to be served, on this device."""
        return self._daemons[device].environment

    def serves(self, device: str | None) -> bool:
        """Whether the daemon has served a process: without it CUDA goes on silently."""
        return any(line.strip().isdigit() for line in self._ask(device).stdout.splitlines())

    def _start(self, program: str, device: str | None) -> _Daemon:
        logs = (self._logs / (device or "all")).absolute()
        logs.mkdir(parents=True, exist_ok=True)
        folders = {PIPES: tempfile.mkdtemp(prefix="engine-mps-"), LOGS: str(logs)}
        root = str(Path(engine.__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with open(logs / "keeper.log", "ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "engine.sweep.mps_keeper", program],
                stdin=subprocess.PIPE,  # its end is the end of this process
                stdout=log,
                stderr=log,
                env=os.environ | folders | {"PYTHONPATH": paths} | _visible(device),
                start_new_session=True,
            )
        served = range(self._count if device is None else 1)
        return _Daemon(keeper, folders | {VISIBLE: ",".join(map(str, served))})

    def _wait_for(self, device: str | None) -> None:
        """Until the daemon answers."""
        keeper, until = self._daemons[device].keeper, time.monotonic() + START_SECONDS
        while keeper.poll() is None and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._ask(device).returncode == 0:
                    return
            time.sleep(0.05)
        logs = Path(self._daemons[device].environment[LOGS])
        said = [last_lines(logs / name, 0) for name in ("control.log", "keeper.log")]
        last = "\n".join(filter(None, said)).splitlines()[-1:] or ["it said nothing"]
        raise UserError(f"--share mps: {PROGRAM} did not start: {last[0]} ({logs})")

    def _ask(self, device: str | None) -> subprocess.CompletedProcess[str]:
        """The process numbers of the daemon's servers; it has none before its first client."""
        return subprocess.run(
            [PROGRAM], input="get_server_list\n", text=True, capture_output=True, check=False,
            env=os.environ | self._daemons[device].environment, timeout=START_SECONDS,
        )  # fmt: skip

    def _stop(self) -> None:
        keepers = [daemon.keeper for daemon in self._daemons.values()]
        for keeper in keepers:
            assert keeper.stdin is not None
            keeper.stdin.close()
        until = time.monotonic() + STOP_SECONDS
        for keeper in keepers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(max(0.0, until - time.monotonic()))
        self._daemons.clear()


def _visible(device: str | None) -> dict[str, str]:
    return {} if device is None else {VISIBLE: device}
