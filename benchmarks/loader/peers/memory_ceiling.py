"""Memory alone: how fast this machine can copy and gather, and how close our gather comes.

The ceilings move whole images by PyTorch's own single-threaded kernels (`copy_` of neighbouring
rows, `index_select` of shuffled rows), in as many threads as the loaders have. No thread ever
waits for another: each has batches and a buffer of its own. Our gather is compared, in each pair,
with the faster of two gathers, from an array and from the mapped file. None has a consumer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.loader.peers import SECONDS, Batches, Feed
from benchmarks.measuring.data import SEED
from benchmarks.measuring.turns import Contender
from engine.data.beton import CHANNELS, Beton, open_beton
from engine.data.kernels.gather import gather

Move = Callable[[Tensor, Tensor], None]  # sample ids; the rows that they fill


class Ceiling:
    """One turn per call, as with `FeedTurns`."""

    def __init__(self, name: str, move: Move, beton: Beton, batch_size: int, threads: int) -> None:
        self.name, self.setting = f"ceiling, {name}", f"{threads} threads that never wait"
        self._move = move
        self._batches = [_batches(beton, batch_size, SEED + place) for place in range(threads)]
        self._buffers = torch.empty((threads, batch_size, _size(beton)), dtype=torch.uint8)

    def __call__(self) -> float:
        """Images/s, all threads together."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # per thread: new threads inherit it
        began = time.perf_counter()
        with ThreadPoolExecutor(len(self._buffers)) as pool:
            move = partial(_move, self._move, began)
            counts = pool.map(move, self._batches, self._buffers)
        passed = time.perf_counter() - began
        torch.set_num_threads(before)
        return sum(counts) / passed


class OurGather:
    """The kernel that feeds a GPU: raw rows straight from the mapped file, batch by batch."""

    def __init__(self, path: Path, batch_size: int) -> None:
        self.name, self.setting = "ours, raw gather", "from the mapped file, one buffer"
        beton = open_beton(path)
        self._beton = beton
        self._batches = _batches(beton, batch_size, SEED)
        self._buffer = torch.empty((batch_size, _size(beton)), dtype=torch.uint8)

    def __call__(self) -> float:
        """Images/s."""
        began = time.perf_counter()
        count = _move(self._gather, began, self._batches, self._buffer)
        return count / (time.perf_counter() - began)

    def feed(self) -> Feed:
        """The same for a consumer, epoch by epoch, to be compared with whole loaders."""
        beton = self._beton
        labels = torch.from_numpy(beton.labels.copy())

        def epoch(number: int) -> Batches:
            for ids in _batches(beton, len(self._buffer), number):
                out = self._buffer[: len(ids)]
                self._gather(ids, out)
                pixels = out.view(-1, beton.height, beton.width, CHANNELS)
                yield pixels.permute(0, 3, 1, 2), labels[ids]

        return Feed("ours, raw gather, consumed", self.setting, epoch)

    def _gather(self, ids: Tensor, out: Tensor) -> None:
        gather(self._beton.view, self._beton.pointers, ids.numpy(), out.numpy())


class Faster:
    """Two ceilings, of which the higher counts."""

    def __init__(self, first: Contender, second: Contender) -> None:
        self.name, self.setting = "ceiling, the faster gather", first.setting
        self._both = (first, second)

    def __call__(self) -> float:
        """A turn of both."""
        return max(ceiling() for ceiling in self._both)


def ceilings(path: Path, batch_size: int, threads: int) -> tuple[Ceiling, Ceiling, Ceiling]:
    """Copying; gathering from an array; gathering from the mapped file."""
    beton = open_beton(path)
    rows = torch.from_numpy(beton.images().reshape(len(beton), -1))
    # Mapped privately and writable, because torch warns of anything else; nothing is written.
    mapped = torch.from_numpy(np.memmap(path, np.uint8, mode="c"))
    windows = mapped.as_strided((len(mapped) - _size(beton) + 1, _size(beton)), (1, 1))
    pointers = torch.from_numpy(beton.pointers.astype(np.int64))

    def copy(ids: Tensor, out: Tensor) -> None:
        first = int(ids[0]) % (len(rows) - len(out) + 1)
        out.copy_(rows[first : first + len(out)])

    def gather_array(ids: Tensor, out: Tensor) -> None:
        torch.index_select(rows, 0, ids, out=out)

    def gather_file(ids: Tensor, out: Tensor) -> None:
        torch.index_select(windows, 0, pointers[ids], out=out)

    return (
        Ceiling("copy", copy, beton, batch_size, threads),
        Ceiling("gather from an array", gather_array, beton, batch_size, threads),
        Ceiling("gather from the file", gather_file, beton, batch_size, threads),
    )


def _size(beton: Beton) -> int:
    return beton.height * beton.width * CHANNELS


def _batches(beton: Beton, batch_size: int, seed: int) -> Sequence[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.split(torch.randperm(len(beton), generator=random), batch_size)


def _move(move: Move, began: float, batches: Sequence[Tensor], buffer: Tensor) -> int:
    """Move batch after batch until the turn is over; how many images were moved."""
    count = 0
    for ids in itertools.cycle(batches):
        move(ids, buffer[: len(ids)])
        count += len(ids)
        if time.perf_counter() - began > SECONDS:
            break
    return count
