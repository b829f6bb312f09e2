"""Runs the jobs of a sweep that is driven elsewhere, on the machine where this process is.

An agent knows nothing of what carries jobs to it. It runs them as a sweep on one machine does: in
this process, or as processes of their own. Its threads share one that starts all processes: the
kernel ends a run when the *thread* that started it ends.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace

from engine import train
from engine.signals import Stop
from engine.sweep.executor import Executor, Job, JobEnd, Outcome
from engine.sweep.in_process import InProcess
from engine.sweep.processes import Processes
from engine.sweep.shared_files import scratch_folder

POLL_SECONDS = 0.05


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
