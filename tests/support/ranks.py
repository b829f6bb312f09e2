"""Ranks in the threads of one process: the same calls as in processes of their own, in no time.

Values are exchanged behind torch's back, as NCCL does: a recorder sees one operation of the host.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tests.support.processes import WarmProcess, start_warm

SECONDS = 240  # a rank that waits for others in vain must fail its test

Result = TypeVar("Result")


class InThread:
    """One of `count` ranks, which meet at every call."""

    def __init__(self, number: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.number, self.count = number, len(slots)
        self.local = number, len(slots)
        self._slots, self._barrier = slots, barrier

    def gather(self, values: Tensor) -> Tensor:
        parts = self._all(values.numpy().copy())
        out = torch.empty((self.count, *values.shape), dtype=values.dtype)
        out.numpy()[:] = np.stack(parts)
        return out

    def sum_(self, values: Tensor) -> None:
        values.numpy()[...] = np.stack(self._all(values.numpy().copy())).sum(0)

    def any(self, flag: bool) -> bool:
        return any(self._all(flag))

    def any_at(self, step: int, flag: bool) -> bool:
        return self.any(flag)

    def tell(self, content: bytes) -> bytes:
        return self._all(content)[0]

    def _all(self, content: Any) -> list[Any]:
        self._slots[self.number] = content
        self._barrier.wait(SECONDS)
        contents = list(self._slots)
        self._barrier.wait(SECONDS)
        return contents


def ranks_of(count: int) -> list[InThread]:
    """The ranks of one group."""
    slots: list[Any] = [None] * count
    barrier = threading.Barrier(count)
    return [InThread(number, slots, barrier) for number in range(count)]


def in_threads(works: Sequence[Callable[[], Result]], ranks: Sequence[InThread]) -> list[Result]:
    """What each of `works` returns, all called at once; the first error is raised."""
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def call(number: int) -> None:
        torch.set_num_threads(1)
        try:
            results[number] = works[number]()
        except BaseException as error:
            errors.append(error)
            ranks[number]._barrier.abort()  # the others would wait in vain

    threads = [threading.Thread(target=call, args=(n,)) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next(
            (e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0]
        )
    return results


def start_ranks(count: int, *flags: str) -> list[WarmProcess]:
    """Train with `flags` in as many processes, which find each other as torchrun's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start_warm(
            "train",
            *flags,
            environment={
                "RANK": str(number),
                "LOCAL_RANK": str(number),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for number in range(count)
    ]


def ends(processes: Sequence[WarmProcess]) -> tuple[list[int | None], list[str], list[str]]:
    """Exit codes, stdout and stderr of processes, once all have ended."""
    outputs = [process.communicate() for process in processes]
    return [p.returncode for p in processes], [o for o, _ in outputs], [e for _, e in outputs]
