"""Trainers that take turns on one machine, each in a process of its own.

The engine sets torch's switches and the allocator for its whole process, which must not change the
speed of a plain loop. A process sleeps while it is not its turn.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.step.peers import Trainer, Workload
from benchmarks.step.turns import StepTurns, WarmUp
from engine.errors import RunFailed

TIMEOUT = 600.0  # seconds for an answer: the first may take as long as compiling does


@dataclass(frozen=True)
class Facts:
    """What a trainer reports once it is warm."""

    name: str
    setting: str
    warm: WarmUp
    flops: int  # per image; 0 where it does not count them
    precision: str


class PeerProcess:
    """A warm trainer in a process of its own; a call is one turn and returns its images/s."""

    def __init__(self, kind: str, workload: Workload, cache: str, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, kind, workload, cache, seconds)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        facts: Facts = self._answer()
        self.facts = facts
        self.name, self.setting, self.warm = facts.name, facts.setting, facts.warm

    def __call__(self) -> float:
        """A turn."""
        self._pipe.send("turn")
        return float(self._answer())

    def peak(self) -> float:
        """Operations/s of a matrix product, in that process and its precision."""
        self._pipe.send("peak")
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> Any:
        try:
            if not self._pipe.poll(TIMEOUT):
                raise EOFError
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self.close()
            raise RunFailed("the process of a trainer ended or did not answer") from None
        if isinstance(answer, str):
            self.close()
            raise RunFailed(answer)
        return answer


def serve(
    pipe: Connection[Any, Any], kind: str, workload: Workload, cache: str, seconds: float
) -> None:
    """The process: make the trainer, then answer requests until the pipe is closed."""
    try:
        turns = StepTurns(lambda: make(kind, workload, cache), seconds)
        pipe.send(facts_of(turns))
        while True:
            pipe.send(turns() if pipe.recv() == "turn" else peak_of(turns.trainer))
    except (EOFError, OSError):
        os._exit(0)  # skips the interpreter's shutdown, in which torch's threads can crash
    except BaseException as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        pipe.send(f"{type(error).__name__}: {lines[0]}")


def make(kind: str, workload: Workload, cache: str) -> Trainer:
    """A trainer of kind ours, plain or ffcv; what the others need is not imported."""
    if kind == "ours":
        from benchmarks.step.peers.ours import Ours

        return Ours(workload, cache=cache)
    if kind == "plain":
        from benchmarks.step.peers.plain_loop import Plain

        return Plain(workload)
    from benchmarks.step.peers.ffcv_style import FfcvStyle

    return FfcvStyle(workload)


def facts_of(turns: StepTurns) -> Facts:
    """The facts of a warm trainer."""
    machine = getattr(turns.trainer, "machine", None)
    precision = "" if machine is None else machine.precision
    flops = getattr(turns.trainer, "flops", 0)
    return Facts(turns.name, turns.setting, turns.warm, flops, precision)


def peak_of(trainer: Any) -> float:
    """Operations/s of a matrix product on the device of ours, in its precision."""
    from engine.step.rates import matmul_peak

    return matmul_peak(trainer.machine)
