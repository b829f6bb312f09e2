"""Memory alone: what this machine can copy, what it can gather, and what our gather gets of it.

Each moves whole images by batches into one buffer that is used again and again. The ceilings
are PyTorch's own kernels: `copy_` of neighbouring rows, `index_select` of shuffled rows, from an
array and from the mapped file; the better of these two is the ceiling of the gather.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.loaders import Batches, Feed, Unavailable
from engine.data.beton import CHANNELS, Beton, open_beton

Fill = Callable[[Tensor, Tensor], None]  # where the rows lie; the buffer that they fill


def feeds(path: Path, batch_size: int) -> dict[str, Feed]:
    """The ceilings: `copy`, and gathers from an `array` and from the mapped `file`."""
    beton = open_beton(path)
    rows = torch.from_numpy(beton.images().reshape(len(beton), -1))
    size = rows.shape[1]
    # Mapped privately and writable, because torch warns of anything else; nothing is written.
    mapped = torch.from_numpy(np.memmap(path, np.uint8, mode="c"))
    windows = mapped.as_strided((len(mapped) - size + 1, size), (1, 1))
    pointers = torch.from_numpy(beton.pointers.astype(np.int64))

    def copy(places: Tensor, out: Tensor) -> None:
        first = int(places[0])
        out.copy_(rows[first : first + len(out)])

    def gather_array(places: Tensor, out: Tensor) -> None:
        torch.index_select(rows, 0, places, out=out)

    def gather_file(places: Tensor, out: Tensor) -> None:
        torch.index_select(windows, 0, places, out=out)

    def made(name: str, fill: Fill, pointers: Tensor | None = None, shuffled: bool = True) -> Feed:
        return _feed(f"ceiling, {name}", "torch", beton, batch_size, fill, pointers, shuffled)

    return {
        "copy": made("copy", copy, shuffled=False),
        "array": made("gather from an array", gather_array),
        "file": made("gather from the file", gather_file, pointers),
    }


def our_gather(path: Path, batch_size: int) -> Feed:
    """The kernel that feeds a GPU: raw rows straight from the mapped file."""
    try:
        from engine.data.gather import gather
    except ImportError:
        raise Unavailable("this version has no engine.data.gather") from None
    beton = open_beton(path)

    def fill(places: Tensor, out: Tensor) -> None:
        gather(beton.view, beton.pointers, places.numpy(), out.numpy())

    return _feed("ours, raw gather", "from the mapped file", beton, batch_size, fill)


def _feed(
    name: str,
    setting: str,
    beton: Beton,
    batch_size: int,
    fill: Fill,
    pointers: Tensor | None = None,
    shuffled: bool = True,
) -> Feed:
    count, shape = len(beton), (beton.height, beton.width, CHANNELS)
    labels = torch.from_numpy(beton.labels.copy())
    buffer = torch.empty((batch_size, shape[0] * shape[1] * shape[2]), dtype=torch.uint8)

    def epoch(number: int) -> Batches:
        random = torch.Generator().manual_seed(number)
        ids = torch.randperm(count, generator=random) if shuffled else torch.arange(count)
        places = ids if pointers is None else pointers[ids]
        for first in range(0, count, batch_size):
            part = slice(first, first + batch_size)
            out = buffer[: len(ids[part])]
            fill(places[part], out)
            yield out.view(-1, *shape).permute(0, 3, 1, 2), labels[ids[part]]

    return Feed(name, setting, epoch, lambda: None)
