"""Threads that share a batch: every piece once, errors to the caller, nothing left behind."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
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


def test_the_helpers_do_a_part() -> None:
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


def test_an_error_of_the_caller_waits_for_the_helpers() -> None:
    caller, done = threading.current_thread(), []

    def fails(piece: int) -> None:
        if threading.current_thread() is caller:
            raise KeyboardInterrupt
        time.sleep(0.05)
        done.append(piece)

    with pytest.raises(KeyboardInterrupt):
        share(_counting(4, fails), 2)
    assert len(done) == 3


def test_a_job_is_let_go_when_it_is_done() -> None:
    class Batch:
        pass

    def hold(batch: Batch) -> None:
        time.sleep(0.001)

    def once() -> weakref.ref[Batch]:
        batch = Batch()
        share(_counting(10, lambda piece: hold(batch)), 3)
        return weakref.ref(batch)

    batch = once()
    for _ in range(100):
        gc.collect()
        if batch() is None:
            break
        time.sleep(0.01)
    assert batch() is None


def test_the_number_of_threads_is_torchs() -> None:
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

    def held() -> tuple[int, int]:
        gc.collect()  # files that earlier tests left to it
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    batches(200)
    before, memory = held(), _resident()
    batches(2000)
    assert held() == before
    assert _resident() - memory < 4 * 2**20


def _resident() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_settings_of_torch_and_numba_stay_as_they_are() -> None:
    import numba

    torch.set_num_threads(2)
    before = torch.get_num_threads(), numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    images, ids = np.zeros((100, 8, 8, 3), np.uint8), np.arange(100)
    cpu.augment(images, ids, ids, Transform(), 0, 0, np.empty_like(images), threads=3)
    after = torch.get_num_threads(), numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    assert before == after


LIVE = """
import threading, time
import numpy as np
from engine.data.augment import cpu
from engine.data.transform import Transform

images, ids = np.zeros((500, 32, 32, 3), np.uint8), np.arange(500)

def forever():
    while True:
        cpu.augment(images, ids, ids, Transform(), 0, 0, np.empty_like(images), threads=3)

threading.Thread(target=forever, daemon=True).start()
time.sleep(1)
print("leaving")
"""


def test_the_interpreter_exits_amid_batches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIVE], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")
