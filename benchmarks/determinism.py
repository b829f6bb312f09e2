"""One seed, one stream of bits: digests of three epochs under every setting, and what it costs."""

from __future__ import annotations

import hashlib
import itertools
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import machine
from benchmarks.comparisons import Bench
from benchmarks.loaders import SEED, ours
from benchmarks.pairs import Spread
from engine.data import order

EPOCHS = 3
BATCH_SIZES = (1, 7, 512)


def determinism(bench: Bench) -> None:
    """Digests over threads, modes and batch sizes, which must all be one."""
    digests: dict[str, str] = {}
    threads = sorted({1, bench.threads})
    bench.say("  digests of three epochs under each setting")
    for mode, batch_size, count in itertools.product(ours.MODES, BATCH_SIZES, threads):
        with bench.found.missing_if_unavailable(f"digests in {mode} mode"):
            name = f"{mode}, batch {batch_size}, {count} threads"
            digests[name] = _digest(bench.files.few, mode, batch_size, count)
    machine.set_threads(bench.threads)
    bench.found.details["digests"] = digests
    bench.found.number("different_digests", len(set(digests.values())) - 1)
    bench.say("  what a counted order costs")
    with bench.found.missing_if_unavailable("determinism_cost"):
        _cost(bench)


def _digest(path: Path, mode: str, batch_size: int, threads: int) -> str:
    """Of all pixels and labels, in the order in which they come."""
    machine.set_threads(threads)
    digest = hashlib.sha256()
    with ours.open_loader(path, batch_size, mode=mode) as loader:
        for epoch in range(EPOCHS):
            pixels, labels = hashlib.sha256(), hashlib.sha256()
            for images, ids in loader.epoch(epoch):
                pixels.update(images.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
                labels.update(ids.numpy().tobytes())
            digest.update(pixels.digest() + labels.digest())
    return digest.hexdigest()


def _cost(bench: Bench) -> None:
    """The time of our order of an epoch, less that of an order drawn from one stream.

    As a share of an epoch's time. The draws of the augmentation are not in it: they are made
    inside the kernel that moves the pixels, and any generator's would be.
    """
    ids = np.arange(bench.files.samples, dtype=np.int64)
    stream = np.random.default_rng(0)
    order.shuffled(ids, SEED, 0)  # compiled, where it is
    with bench.ours("resident", torch.uint8) as mine:
        shares = []
        for epoch in range(bench.pairs):
            seconds = bench.files.samples / mine()
            began = time.perf_counter()
            order.shuffled(ids, SEED, epoch)
            counted = time.perf_counter()
            stream.permutation(ids)
            drawn = time.perf_counter()
            shares.append(((counted - began) - (drawn - counted)) / seconds)
    bench.found.details["determinism_cost"] = Spread(tuple(shares)).as_json()
    bench.found.number("determinism_cost", Spread(tuple(shares)).median)
