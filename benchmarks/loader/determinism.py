"""One seed, one stream of bits: digests of three epochs under every setting, and what it costs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.loader.peers import ours
from benchmarks.measuring import machine
from benchmarks.measuring.clock import seconds
from benchmarks.measuring.data import PADDING, SEED
from benchmarks.measuring.turns import Spread, spread_of
from engine.data import order
from engine.data.augment.cpu import augment
from engine.data.transform import Transform

EPOCHS = 3
BATCH_SIZES = (1, 7, 512)
BATCH = 512
ROUNDS_PER_PAIR = 8  # of what is short, and of which the difference is small


def determinism(bench: LoaderBenchmark) -> None:
    """Digests over threads, modes and batch sizes, which must all be one."""
    digests: dict[str, str] = {}
    threads = sorted({1, bench.threads})
    bench.say("  digests of three epochs under each setting")
    for mode, batch_size, count in itertools.product(ours.MODES, BATCH_SIZES, threads):
        name = f"{mode}, batch {batch_size}, {count} threads"
        digests[name] = _digest(bench.files.few, mode, batch_size, count)
    machine.set_threads(bench.threads)
    bench.results.details["digests"] = digests
    bench.results.figure("different_digests", len(set(digests.values())) - 1)
    bench.say("  what counted orders and draws cost")
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


def _cost(bench: LoaderBenchmark) -> None:
    """The share of an epoch's time that counter-based randomness costs at most.

    The order: our time for one, less that of an order drawn from one stream. The draws: the
    alternating flip makes twice as many as the random one and moves the same pixels, so the
    difference is what all draws cost; those of any other generator would not be free either.
    """
    with bench.ours("resident", torch.uint8) as mine:
        epoch = bench.files.samples / spread_of(mine, bench.pairs).median
    shares = {
        "order": Spread(tuple(each / epoch for each in _orders(bench))),
        "draws": Spread(tuple(each / epoch for each in _draws(bench))),
    }
    bench.results.details["determinism_cost"] = {k: share.as_json() for k, share in shares.items()}
    bench.results.figure("determinism_cost", sum(share.median for share in shares.values()))


def _orders(bench: LoaderBenchmark) -> Iterator[float]:
    ids = np.arange(bench.files.samples, dtype=np.int64)
    stream = np.random.default_rng(SEED)
    order.shuffled(ids, SEED, 0)  # compiled, where it is
    for epoch in range(ROUNDS_PER_PAIR * bench.pairs):
        counted = seconds(partial(order.shuffled, ids, SEED, epoch))
        yield counted - seconds(partial(stream.permutation, ids))


def _draws(bench: LoaderBenchmark) -> Iterator[float]:
    images, count = bench.files.images, bench.files.samples
    transforms = [Transform(crop_padding=PADDING, flip=flip) for flip in ("alternating", "random")]
    ids = order.shuffled(np.arange(count, dtype=np.int64), SEED, 0)
    batches = [ids[first : first + BATCH] for first in range(0, count, BATCH)]
    out = np.empty((BATCH, *images.shape[1:]), np.uint8)

    def epoch(transform: Transform, number: int) -> None:
        for part in batches:
            augment(images, part, part, transform, SEED, number, out[: len(part)])

    for number in range(ROUNDS_PER_PAIR * bench.pairs + 1):
        twice, once = (seconds(partial(epoch, transform, number + 1)) for transform in transforms)
        if number:  # the first was the warm-up
            yield twice - once
