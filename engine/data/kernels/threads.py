"""Several threads on one batch: helpers that stay, and pieces that whoever is free takes.

Numba's own threads will not do: its default layer ends the process when two threads use it at
once, and OpenMP's dies in a forked child. Here a batch is a job that each thread takes pieces of
until none is left, the caller among them, so that a helper that the machine does not run delays
nobody. Jobs of several callers mix freely.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Work = Callable[[], bool]  # takes pieces until none is left; True where it ended the last one

SMALL = 200_000  # bytes that one thread has copied before a second one is awake


def share(
    work: Work,
    threads: int | None = None,
    size: int | None = None,
    done: Callable[[], bool] | None = None,
) -> None:
    """Call `work` here and in `threads` - 1 helpers, and return when all pieces are done.

    `threads` is as many as torch computes with where it is not given; work on few bytes, which
    `size` says, is done by fewer. `done` may look for a moment whether all pieces are: to sleep
    and be woken takes longer than a helper's last piece.
    """
    threads = threads or available()
    if size is not None:
        threads = min(threads, 1 + size // SMALL)
    if threads <= 1:
        work()
        return
    job = _Job(work)
    try:
        _pool.ask(job, threads - 1)
        if work() or (done is not None and done()):
            return
        error = job.ends.get()
    except BaseException:  # Ctrl-C, or no memory: the helpers still write where the caller reads
        job.wait()
        raise
    if error is not None:
        raise error


def available() -> int:
    """As many threads as torch computes with."""
    import torch  # torch is no need of whoever names a number

    return torch.get_num_threads()


class _Job:
    def __init__(self, work: Work) -> None:
        self._work = work
        self.ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def help(self) -> None:
        try:
            if self._work():
                self.ends.put(None)
        except BaseException as error:  # it is the caller's to handle
            self.ends.put(error)

    def wait(self) -> None:
        with contextlib.suppress(Empty):  # who was interrupted may have ended the job unsaid
            self.ends.get(timeout=1)


class _Pool:
    """Daemon threads that wait for jobs; there are as many as any job asked for."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._helpers = 0

    def ask(self, job: _Job, helpers: int) -> None:
        if self._helpers < helpers:
            self._grow(helpers)
        for _ in range(helpers):
            self._jobs.put(job)

    def _grow(self, helpers: int) -> None:
        with self._lock:
            while self._helpers < helpers:
                name = f"batch-helper-{self._helpers}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
                self._helpers += 1

    def _serve(self) -> None:
        while True:
            self._jobs.get().help()  # no name holds the job: its batch is the caller's to free


_pool = _Pool()


def _start_afresh() -> None:
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_start_afresh)  # threads do not survive a fork
