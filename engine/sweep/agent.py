"""Runs the jobs of a sweep that is driven elsewhere, on the machine where this process is.

An agent knows nothing of what carries jobs to it. It runs them as a sweep on one machine does: in
this process, or as processes of their own. Its threads share one that starts all processes: the
kernel ends a run when the *thread* that started it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import queue
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from engine import atomic, train
from engine.data import sidecar
from engine.errors import UserError
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, Outcome
from engine.sweep.in_process import InProcess
from engine.sweep.processes import Processes

POLL_SECONDS = 0.05
VISIBLE_SECONDS = 10.0  # until a shared folder shows what another machine wrote


@dataclass(frozen=True)
class Probe:
    """A file that the driver of the sweep has written and keeps locked."""

    path: str
    token: str


@dataclass(frozen=True)
class DataCopy:
    """A data file of the driver's machine, and what is needed to have it elsewhere."""

    path: str  # as configurations name it
    size: int
    sha256: str
    sidecar: str  # its text; empty where there is none


class Agent:
    """Runs up to `jobs` processes at a time; 0: one run after another in this process."""

    def __init__(self, jobs: int, cores: int, data: Mapping[str, str]) -> None:
        self._data = data  # where data files are here, by their paths in configurations
        self._stop = Stop()  # never entered: signals are for whoever started this process
        folder = scratch_folder() / f"configs-{os.getpid()}"
        executor: Executor = Processes(folder, [None], max(1, jobs), cores)
        if jobs == 0:
            executor = InProcess(train.train, self._stop, executor)
        self._executor, self.slots = executor, max(1, jobs)
        self._submitted: queue.SimpleQueue[tuple[Job, Future[JobEnd]]] = queue.SimpleQueue()
        self._waiting: list[tuple[Job, Future[JobEnd]]] = []
        self._running: dict[int, Future[JobEnd]] = {}
        self._cancelled: set[int] = set()
        threading.Thread(target=self._work, name="agent", daemon=True).start()

    def run(self, job: Job) -> JobEnd:
        """Run a job to its end; several threads may call this at a time."""
        data = job.config.data
        local = replace(
            data, train=self._data.get(data.train, data.train),
            test=self._data.get(data.test, data.test),
        )  # fmt: skip
        end: Future[JobEnd] = Future()
        self._submitted.put((replace(job, config=replace(job.config, data=local)), end))
        return end.result()

    def stop(self) -> None:
        """Have every job save a checkpoint and end; those that have not begun end at once."""
        self._stop.requested = True

    def _work(self) -> None:
        while True:
            if not self._waiting and not self._running:
                self._waiting.append(self._submitted.get())
            while not self._submitted.empty():
                self._waiting.append(self._submitted.get())
            if self._stop.requested:
                self._end_all()
            while self._waiting and self._executor.room > 0:
                job, end = self._waiting.pop(0)
                try:
                    self._running[self._executor.submit(job)] = end
                except Exception:  # the next job may do better
                    end.set_result(JobEnd(Outcome.FAILED, traceback.format_exc()))
            if self._running:
                for ticket, how in self._executor.ended(POLL_SECONDS):
                    self._running.pop(ticket).set_result(how)

    def _end_all(self) -> None:
        for _, end in self._waiting:
            end.set_result(JobEnd(Outcome.STOPPED, "not begun"))
        self._waiting.clear()
        for ticket in self._running.keys() - self._cancelled:
            self._executor.cancel(ticket)
            self._cancelled.add(ticket)


def problem_with(probe: Probe) -> str:
    """Why runs must not begin here, empty where they may: two machines must never train one run.

    Whether a run is being trained is known from a lock in its folder; so this machine has to see
    the folder of all runs, and the locks that others hold there.
    """
    path, until = Path(probe.path), time.monotonic() + VISIBLE_SECONDS
    while not _reads(path, probe.token):
        if time.monotonic() > until:
            return (
                f"{path}: what the driver of the sweep wrote is not seen here; run.root must be a "
                "folder that all machines share"
            )
        time.sleep(0.2)
    if not atomic.is_locked(path):
        return (
            f"{path}: the driver's lock is not seen here, so two machines could train one run; "
            "mount the file system with locks (Lustre: -o flock; NFS: without nolock)"
        )
    return ""


def scratch_folder() -> Path:
    """A folder of this machine that no other user may enter."""
    folder = Path(tempfile.gettempdir()) / f"engine-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user; set TMPDIR to a folder of your own")
    return folder


def path_here(copy: DataCopy, content: Callable[[], bytes]) -> str:
    """The path of a data file on this machine: its own where it is there, else a copy.

    A copy is named by its digest, so that it is made once per machine and never out of date.
    """
    own = Path(copy.path)
    if own.is_absolute() and _is_same(own, copy):
        return copy.path
    target = scratch_folder() / f"{copy.sha256}.beton"
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several agents on this machine one writes it
        if not target.is_file() or target.stat().st_size != copy.size:
            bytes_ = content()
            if hashlib.sha256(bytes_).hexdigest() != copy.sha256:
                raise UserError(f"{copy.path}: changed while the sweep began; start it again")
            if copy.sidecar:
                atomic.write_text(sidecar.path_of(target), copy.sidecar)
            atomic.write_bytes(target, bytes_)
    return str(target)


def copy_of(path: str, sha256: str) -> DataCopy:
    """What a data file of this machine needs to be had elsewhere."""
    beside = sidecar.path_of(Path(path))
    text = beside.read_text(encoding="utf-8") if beside.exists() else ""
    return DataCopy(path, Path(path).stat().st_size, sha256, text)


def _is_same(path: Path, copy: DataCopy) -> bool:
    try:
        known = sidecar.read(path)
        return (
            known is not None and known.sha256 == copy.sha256 and path.stat().st_size == copy.size
        )
    except (OSError, UserError):
        return False


def _reads(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False
