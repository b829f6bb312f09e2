"""FFCV's own loader at its best: the one file of the benchmarks that imports ffcv.

Faults of 1.0.2 that are handled here: it sets torch's and Numba's thread counts (the caller sets
them again before each turn); an iterator that is left early keeps its thread until `close`; it
turns Numba's one type of uint8 arrays read-only for the whole process, which breaks whatever
else was compiled with that type, our kernels included (here it gets a type of its own).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.loader import loader as loader_module
from ffcv.memory_managers import OSCacheManager
from ffcv.pipeline.compiler import Compiler
from ffcv.transforms import (
    NormalizeImage,
    RandomHorizontalFlip,
    RandomTranslate,
    Squeeze,
    ToTensor,
    ToTorchImage,
)
from numba import types

from benchmarks.loader.peers import Batches, Feed
from benchmarks.measuring.data import MEAN, PADDING, SEED, STD

KINDS = ("uint8", "float32", "decode")
READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)
BATCHES_AHEAD = (1, 3, 6)  # each is tried for one epoch; 3 is FFCV's default


class _OSCache(OSCacheManager):  # type: ignore[misc]
    """FFCV's own reader of the mapped file, without its write to a type that all share."""

    @property
    def state_type(self) -> Any:
        numbers = types.uint64[::1]
        kinds = [READ_ONLY, numbers, numbers]
        return types.Tuple(kinds)  # type: ignore[no-untyped-call]

    def compile_reader(self) -> Any:
        def read(address, mem_state):  # type: ignore[no-untyped-def]
            size = mem_state[2][np.searchsorted(mem_state[1], address)]
            return mem_state[0][address : address + size]

        return Compiler.compile(read, READ_ONLY(types.uint64, self.state_type))


def open_loader(path: Path, batch_size: int, kind: str, threads: int) -> Loader:
    """The stock pipeline, ending in uint8 or normalised float32, or nothing but the decoder.

    Its table-driven NormalizeImage gives floats faster than Convert and a tensor operation (by a
    third, where it was tried). ToDevice is left out on a CPU: it would copy every batch once more.
    """
    loader_module.OSCacheManager = _OSCache
    return Loader(
        str(path),
        batch_size,
        num_workers=threads,
        os_cache=True,
        order=OrderOption.RANDOM,
        seed=SEED,
        drop_last=False,
        pipelines={"image": _operations(kind), "label": [IntDecoder(), ToTensor(), Squeeze(1)]},
    )


def feed(path: Path, batch_size: int, kind: str, threads: int) -> Feed:
    """FFCV with the number of batches ahead that is fastest here; compiled and warm."""
    loader = open_loader(path, batch_size, kind, threads)
    _seconds(loader, BATCHES_AHEAD[0])  # uncounted: it compiles
    loader.batches_ahead = min(BATCHES_AHEAD, key=lambda ahead: _seconds(loader, ahead))
    setting = f"num_workers {threads}, os_cache, batches_ahead {loader.batches_ahead}"
    return Feed(f"FFCV, {kind}", setting, lambda _: _epoch(loader))


def _operations(kind: str) -> Sequence[Any]:
    image: list[Any] = [SimpleRGBImageDecoder()]
    if kind != "decode":
        image += [RandomHorizontalFlip(), RandomTranslate(padding=PADDING)]
    if kind == "float32":
        mean, std = (255 * np.array(each, np.float64) for each in (MEAN, STD))
        image.append(NormalizeImage(mean, std, np.dtype(np.float32)))
    return [*image, ToTensor(), ToTorchImage()]


def _epoch(loader: Loader) -> Batches:
    iterator = iter(loader)
    try:
        yield from iterator
    finally:
        iterator.close()


def _seconds(loader: Loader, ahead: int) -> float:
    loader.batches_ahead = ahead
    began = time.perf_counter()
    for _ in _epoch(loader):
        pass
    return time.perf_counter() - began
