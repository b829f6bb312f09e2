"""Several threads for one batch: a pool of helpers, and pieces that any free thread takes.

Numba's own threads are unsuitable: its default layer ends the process when two threads use it at
once, and OpenMP's dies in a forked child. Here a batch is a job; each thread, the caller included,
takes pieces of it until none is left, so a helper that the system does not schedule delays nobody.
Several callers may share the pool.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Work = Callable[[], bool]  # takes pieces until none is left; True if it finished the last one

SMALL = 200_000  # bytes that one thread copies before a second one has woken up


def share(
    work: Work,
    threads: int | None = None,
    size: int | None = None,
    done: Callable[[], bool] | None = None,
) -> None:
    """Call `work` here and in `threads` - 1 helpers, and return when all pieces are done.

    The default of `threads` is torch's; work on few bytes (`size`) is done by fewer. `done` may
    spin for a moment until all pieces are done: sleeping and waking takes longer than a helper's
    last piece.
    """
    threads = threads or available()
    if size is not None:
        threads = min(threads, 1 + size // SMALL)
    if threads <= 1:
        work()
        return
    job = _Job(work)
    try:
        _pool.submit(job, threads - 1)
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
    import torch  # not needed by callers that give a number

    return torch.get_num_threads()


class _Job:
    def __init__(self, work: Work) -> None:
        self._work = work
        self.ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def help(self) -> None:
        try:
            if self._work():
                self.ends.put(None)
        except BaseException as error:  # raised by the caller
            self.ends.put(error)

    def wait(self) -> None:
        with contextlib.suppress(Empty):  # an interrupted caller may have finished the job itself
            self.ends.get(timeout=1)


class _Pool:
    """Daemon threads that wait for jobs; as many as the largest job needed."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._helpers = 0

    def submit(self, job: _Job, helpers: int) -> None:
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
            self._jobs.get().help()  # no variable refers to the job, so its batch can be freed


_pool = _Pool()


def _new_pool() -> None:
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_new_pool)  # threads do not survive a fork
