"""What machines of one sweep share: the folder of all runs with its locks, and copies of data."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine import atomic
from engine.data import sidecar
from engine.errors import UserError
from engine.sweep.executor import Job

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


@contextlib.contextmanager
def locked_probe(folder: Path) -> Iterator[Probe]:
    """A file that is locked as long as the sweep runs; agents look whether they see the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    path = (folder / f"probe-{token[:8]}").absolute()
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
        try:
            yield Probe(str(path), token)
        finally:
            path.unlink(missing_ok=True)


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


def with_absolute_paths(job: Job) -> Job:
    """The job with paths that mean the same in every folder."""
    config = job.config
    run = replace(config.run, root=os.path.abspath(config.run.root))
    model, runtime = config.model, config.runtime
    if model.weights:
        model = replace(model, weights=os.path.abspath(model.weights))
    if runtime.cache:
        runtime = replace(runtime, cache=os.path.abspath(runtime.cache))
    config = replace(config, run=run, model=model, runtime=runtime)
    return replace(job, config=config, log=Path(os.path.abspath(job.log)))


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
