"""Runs as processes of their own on this machine, a number of them per device."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import engine
from engine import atomic
from engine.config.help import render_values
from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.sweep.executor import Job, JobEnd, Outcome, begin_log, last_lines, outcome_of
from engine.sweep.mps import VISIBLE, Mps

CHILD = "engine.sweep.child"
POLL_SECONDS = 0.05


class Processes:
    """Each job is a `python -m engine.train` with its configuration in a file.

    `devices` has a value of CUDA_VISIBLE_DEVICES for each device that jobs are spread over, None
    where it stays as it is. The cores are divided among them, unless `runtime.threads` is given.
    With `mps` the processes of a device run on it at the same time. A job that failed so is run
    outside: a fault there ends all that share the GPU, and nobody knows whose it was.
    """

    def __init__(
        self,
        folder: Path,
        devices: Sequence[str | None],
        jobs: int,
        cores: int,
        mps: Mps | None = None,
    ) -> None:
        self._folder, self._devices, self._jobs = folder, tuple(devices), jobs
        self._mps, self._failed = mps, set[str]()  # names
        self._threads = max(1, cores // self.slots)
        self._running: dict[int, _Process] = {}  # by ticket
        self._tickets = itertools.count()

    @property
    def slots(self) -> int:
        """Devices times the processes of each."""
        return len(self._devices) * self._jobs

    @property
    def room(self) -> int:
        """Processes that may still be started."""
        return self.slots - len(self._running)

    def submit(self, job: Job) -> int:
        """Start a process, on the device that has the fewest."""
        used = [each.device for each in self._running.values()]
        device = min(self._devices, key=used.count)
        config = job.config
        if not config.runtime.threads:
            config = replace(config, runtime=replace(config.runtime, threads=self._threads))
        path = self._folder / f"{config.run.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, _as_yaml(config, job.name))
        since = begin_log(job.log)
        served = self._mps if job.name not in self._failed and not job.isolated else None
        with open(job.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", CHILD, str(os.getpid()), str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(device, served),
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
            )
        ticket = next(self._tickets)
        self._running[ticket] = _Process(process, job.name, job.log, since, device)
        return ticket

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        """The processes that have ended."""
        until = time.monotonic() + seconds
        while True:
            ends = {
                ticket: end
                for ticket, process in self._running.items()
                if (end := process.poll()) is not None
            }
            for ticket, end in ends.items():
                if end.outcome is Outcome.FAILED:
                    self._failed.add(self._running[ticket].name)
                del self._running[ticket]
            left = until - time.monotonic()
            if ends or left <= 0:
                return list(ends.items())
            time.sleep(min(left, POLL_SECONDS))

    def cancel(self, ticket: int) -> None:
        """Send SIGTERM to a process and all that it started."""
        if ticket in self._running:
            self._running[ticket].cancel()


@dataclass
class _Process:
    process: subprocess.Popen[bytes]
    name: str
    log: Path
    since: int  # size of the log before it
    device: str | None
    cancelled: bool = False

    def poll(self) -> JobEnd | None:
        code = self.process.poll()
        if code is None:
            return None
        output = last_lines(self.log, self.since)
        outcome = Outcome.STOPPED if code < 0 and self.cancelled else outcome_of(code, output)
        if outcome is Outcome.FAILED:
            how = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
            output = f"{output}\n{how}".lstrip()
        return JobEnd(outcome, output, host_of(self.device))

    def cancel(self) -> None:
        self.cancelled = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)


def devices_of(config_device: str, count: int, visible: str | None) -> list[str | None]:
    """The devices for `Processes`: every GPU where the device is `auto`, else the one configured.

    `count` GPUs are visible, of those that CUDA_VISIBLE_DEVICES (`visible`) lists if it is set.
    """
    if config_device != "auto" or count < 2:
        return [None]
    names = [name.strip() for name in (visible or "").split(",") if name.strip()]
    return list(names[:count]) if len(names) >= count else [str(n) for n in range(count)]


def host_of(device: str | None) -> str:
    """This machine, and which of its GPUs."""
    return platform.node() + (f", GPU {device}" if device is not None else "")


def _environment(device: str | None, mps: Mps | None) -> dict[str, str]:
    root = str(Path(engine.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if device is not None:
        environment[VISIBLE] = device
    return environment | (mps.environment(device) if mps is not None else {})


def _as_yaml(config: Config, name: str) -> str:
    """The whole configuration, ready for `python -m engine.train --config-file`."""
    settings = settings_of(Config)
    values = {key: setting.of(config) for key, setting in settings.items()}
    text = render_values(values, dict.fromkeys(values, ""))
    return f"# {name}\n" + text.replace("  # \n", "\n")


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
