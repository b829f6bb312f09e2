"""Memory alone: what this machine can copy, what it can gather, and what our gather gets of it.

The ceilings move whole images by PyTorch's own single-threaded kernels (`copy_` of neighbouring
rows, `index_select` of shuffled rows), in as many threads as the loaders have. No thread ever
waits for another: each has batches and a buffer of its own. Our gather is held, in each
pair, to the faster of two gathers, from an array and from the mapped file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.loaders import Batches, Feed
from benchmarks.pairs import SECONDS
from engine.data.beton import CHANNELS, open_beton
from engine.data.gather import gather

Move = Callable[[Tensor, Tensor], None]  # sample ids; the rows that they fill


class Ceiling:
    """Called for one turn after the other, as `Turns` are."""

    def __init__(
        self, name: str, move: Move, shape: tuple[int, int], batch_size: int, threads: int
    ) -> None:
        self.name, self.setting = f"ceiling, {name}", f"{threads} threads that never wait"
        self._move, self._samples = move, shape[0]
        empty = torch.empty((threads, batch_size, shape[1]), dtype=torch.uint8)
        self._buffers = list(empty)

    def __call__(self) -> float:
        """Images a second, all threads together."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # of each: new threads take it over
        counts = [0] * len(self._buffers)
        began = time.perf_counter()

        def run(place: int) -> None:
            for ids in self._batches(place):
                self._move(ids, self._buffers[place][: len(ids)])
                counts[place] += len(ids)
                if time.perf_counter() - began > SECONDS:
                    return

        workers = [threading.Thread(target=run, args=(k,)) for k in range(len(counts))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        passed = time.perf_counter() - began
        torch.set_num_threads(before)
        return sum(counts) / passed

    def _batches(self, seed: int) -> Iterator[Tensor]:
        random = torch.Generator().manual_seed(seed)
        while True:
            ids = torch.randperm(self._samples, generator=random)
            yield from torch.split(ids, len(self._buffers[0]))


class Faster:
    """Two ceilings, of which the higher counts."""

    def __init__(self, first: Ceiling, second: Ceiling) -> None:
        self.name, self.setting = "ceiling, the faster gather", first.setting
        self._both = (first, second)

    def __call__(self) -> float:
        """A turn of both."""
        return max(ceiling() for ceiling in self._both)


def ceilings(path: Path, batch_size: int, threads: int) -> tuple[Ceiling, Ceiling, Ceiling]:
    """Copying; gathering from an array; gathering from the mapped file."""
    beton = open_beton(path)
    rows = torch.from_numpy(beton.images().reshape(len(beton), -1))
    count, size = rows.shape
    # Mapped privately and writable, because torch warns of anything else; nothing is written.
    mapped = torch.from_numpy(np.memmap(path, np.uint8, mode="c"))
    windows = mapped.as_strided((len(mapped) - size + 1, size), (1, 1))
    pointers = torch.from_numpy(beton.pointers.astype(np.int64))

    def copy(ids: Tensor, out: Tensor) -> None:
        first = int(ids[0]) % (count - len(out) + 1)
        out.copy_(rows[first : first + len(out)])

    def gather_array(ids: Tensor, out: Tensor) -> None:
        torch.index_select(rows, 0, ids, out=out)

    def gather_file(ids: Tensor, out: Tensor) -> None:
        torch.index_select(windows, 0, pointers[ids], out=out)

    shape = (count, size)
    return (
        Ceiling("copy", copy, shape, batch_size, threads),
        Ceiling("gather from an array", gather_array, shape, batch_size, threads),
        Ceiling("gather from the file", gather_file, shape, batch_size, threads),
    )


def our_gather(path: Path, batch_size: int) -> Feed:
    """The kernel that feeds a GPU: raw rows straight from the mapped file, batch by batch."""
    beton = open_beton(path)
    shape = (beton.height, beton.width, CHANNELS)
    labels = torch.from_numpy(beton.labels.copy())
    buffer = np.empty((batch_size, *shape), np.uint8)

    def epoch(number: int) -> Batches:
        random = torch.Generator().manual_seed(number)
        for ids in torch.split(torch.randperm(len(beton), generator=random), batch_size):
            out = buffer[: len(ids)]
            gather(beton.view, beton.pointers, ids.numpy(), out)
            yield torch.from_numpy(out).permute(0, 3, 1, 2), labels[ids]

    return Feed("ours, raw gather", "from the mapped file, one buffer", epoch, lambda: None)
