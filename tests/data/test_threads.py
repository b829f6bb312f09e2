"""Threads that share a batch: every piece once, errors raised in the caller, nothing left."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.data.augment import cpu
from engine.data.kernels.threads import available, share
from engine.data.transform import Transform
from tests.support.resources import resident_bytes, threads_and_files


def _counting(pieces: int, each: Callable[[int], None]) -> Callable[[], bool]:
    """Work of some pieces, as the kernels do it."""
    taken, done = itertools.count(), itertools.count(1)

    def work() -> bool:
        ended = False
        while (piece := next(taken)) < pieces:
            each(piece)
            ended |= next(done) == pieces
        return ended

    return work


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pieces", [1, 2, 100])
def test_every_piece_is_done_once_before_it_returns(threads: int, pieces: int) -> None:
    done: list[int] = []
    for _ in range(20):
        done.clear()
        share(_counting(pieces, done.append), threads)
        assert sorted(done) == list(range(pieces))


def test_helper_threads_do_some_of_the_work() -> None:
    names: set[str] = set()

    def slow(piece: int) -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.02)

    share(_counting(20, slow), 3)
    assert len(names) == 3


def test_an_error_in_a_helper_reaches_the_caller() -> None:
    caller = threading.current_thread()

    def fails(piece: int) -> None:
        if threading.current_thread() is not caller:
            raise ZeroDivisionError("in a helper")
        time.sleep(0.02)

    with pytest.raises(ZeroDivisionError, match="in a helper"):
        share(_counting(50, fails), 2)
    done: list[int] = []
    share(_counting(5, done.append), 2)  # the helper is there for the next job
    assert len(done) == 5


def test_an_error_in_the_caller_waits_for_the_helpers() -> None:
    caller, done = threading.current_thread(), []

    def fails(piece: int) -> None:
        if threading.current_thread() is caller:
            raise KeyboardInterrupt
        time.sleep(0.05)
        done.append(piece)

    with pytest.raises(KeyboardInterrupt):
        share(_counting(4, fails), 2)
    assert len(done) == 3


def test_a_finished_job_is_freed() -> None:
    class Batch:
        pass

    def use(batch: Batch) -> None:
        time.sleep(0.001)

    def once() -> weakref.ref[Batch]:
        batch = Batch()
        share(_counting(10, lambda piece: use(batch)), 3)
        return weakref.ref(batch)

    batch = once()
    for _ in range(100):
        gc.collect()
        if batch() is None:
            break
        time.sleep(0.01)
    assert batch() is None


def test_the_default_number_of_threads_is_that_of_torch() -> None:
    torch.set_num_threads(2)
    assert available() == 2
    torch.set_num_threads(1)
    assert available() == 1


def test_two_thousand_batches_leave_nothing_behind() -> None:
    images = np.zeros((80, 8, 8, 3), np.uint8)
    ids = np.arange(80)
    out = np.empty_like(images)

    def batches(number: int) -> None:
        for epoch in range(number):
            cpu.augment(images, ids, ids, Transform(), 0, epoch, out, threads=2)

    batches(200)
    before, memory = threads_and_files(), resident_bytes()
    batches(2000)
    assert threads_and_files() == before
    assert resident_bytes() - memory < 4 * 2**20


def test_thread_settings_of_torch_and_numba_are_unchanged() -> None:
    import numba

    torch.set_num_threads(2)
    before = torch.get_num_threads(), numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    images, ids = np.zeros((100, 8, 8, 3), np.uint8), np.arange(100)
    cpu.augment(images, ids, ids, Transform(), 0, 0, np.empty_like(images), threads=3)
    after = torch.get_num_threads(), numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    assert before == after
