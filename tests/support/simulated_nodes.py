"""Nodes that run jobs in virtual time: they die, are cut off, and go on unseen.

Locks, records and the queue are real files; only time and training are not. A node that is cut
off goes on training (a zombie) and writes its result, as a worker does that outlives its network.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.sweep.executor import Job, JobEnd, Outcome


@dataclass
class _Node:
    name: str
    reachable: bool = True
    alive: bool = True
    running: dict[int, _Training] = field(default_factory=dict)  # by ticket
    gone: int = 0  # how often it died: what was to happen to it before does not any more


@dataclass
class _Training:
    fingerprint: str
    folder: Path
    lock: int
    known: bool = True  # the driver waits for it


class SimulatedNodes:
    """An executor. Each node has `slots`; a run takes `seconds` on average."""

    def __init__(
        self,
        fingerprints: dict[str, str],
        *,
        nodes: int,
        slots: int,
        seconds: float = 60.0,
        between_faults: float,
        seed: int = 0,
    ) -> None:
        self.now = 0.0
        self.results = Counter[str]()  # records written, by fingerprint
        self.faults = Counter[str]()
        self.in_flight = 0  # runs on nodes at the moment of their fault
        self._fingerprints = fingerprints  # by folder
        self._nodes = [_Node(f"node {number}") for number in range(nodes)]
        self._free = [node for node in self._nodes for _ in range(slots)]
        self._slots, self._seconds, self._between = slots, seconds, between_faults
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ends: list[tuple[int, JobEnd]] = []
        self._later(self._random.expovariate(1 / between_faults), self._fault)

    @property
    def slots(self) -> int:
        return len(self._nodes) * self._slots

    @property
    def room(self) -> int:
        return len(self._free)

    def submit(self, job: Job) -> int:
        number = self._random.randrange(len(self._free))
        self._free[number], self._free[-1] = self._free[-1], self._free[number]
        node, ticket = self._free.pop(), next(self._numbers)
        folder = Path(job.config.run.root) / job.config.run.name
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            self._free.append(node)
            self._ends.append((ticket, JobEnd(Outcome.BUSY, host=node.name)))
            return ticket
        training = _Training(self._fingerprints[folder.name], folder, lock)
        node.running[ticket] = training
        seconds = self._random.uniform(0.5, 1.5) * self._seconds
        gone = node.gone
        self._later(seconds, lambda: self._finish(node, gone, ticket))
        return ticket

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        until = self.now + seconds
        while not self._ends and self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        if not self._ends:
            self.now = until
        ends, self._ends = self._ends, []
        return ends

    def cancel(self, ticket: int) -> None:
        raise AssertionError("not expected")

    def _later(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), event))

    def _finish(self, node: _Node, gone: int, ticket: int) -> None:
        if node.gone != gone:
            return
        training = node.running.pop(ticket)
        self._write(training, "finished")
        self.results[training.fingerprint] += 1
        os.close(training.lock)
        if node.reachable:
            self._free.append(node)
            if training.known:
                self._ends.append((ticket, JobEnd(Outcome.DONE, host=node.name)))

    def _fault(self) -> None:
        """A node dies, or is cut off for a while, or is cut off and dies unseen."""
        self._later(self._random.expovariate(1 / self._between), self._fault)
        node = self._random.choice(self._nodes)
        if not node.reachable or not node.alive:
            return
        kind = self._random.choice(("dies", "is cut off", "is cut off and dies"))
        self.faults[kind] += 1
        self.in_flight += len(node.running)
        node.reachable = False
        self._free = [each for each in self._free if each is not node]
        lost = list(node.running.items())
        self._later(self._random.uniform(1, 40), lambda: self._report(node, lost))
        if kind == "dies":
            self._die(node)
        elif kind == "is cut off and dies":
            self._later(self._random.uniform(1, 90), lambda: self._die(node))
        self._later(self._random.uniform(100, 300), lambda: self._return(node))

    def _report(self, node: _Node, lost: list[tuple[int, _Training]]) -> None:
        """The driver learns of a fault; what has ended since is not known to it either."""
        for ticket, training in lost:
            if training.known:
                training.known = False
                self._ends.append((ticket, JobEnd(Outcome.LOST, host=node.name)))

    def _die(self, node: _Node) -> None:
        node.alive = False
        node.gone += 1
        for training in node.running.values():
            if self._random.random() < 0.5:  # it had saved a checkpoint
                self._write(training, "running")
            os.close(training.lock)
        node.running.clear()

    def _return(self, node: _Node) -> None:
        node.reachable = node.alive = True
        self._free += [node] * (self._slots - len(node.running))

    def _write(self, training: _Training, status: str) -> None:
        record = {
            "fingerprint": training.fingerprint, "status": status, "epochs": 1, "seconds": 60.0,
            "saved_step": round(self.now) + 1, "test_accuracy": 0.5, "weights_sha256": "0" * 64,
        }  # fmt: skip
        (training.folder / "record.json").write_text(json.dumps(record))
