"""Turns of a feed: whole epochs through one consumer, after a check of what is delivered."""

from __future__ import annotations

import itertools
import time

import torch
from torch import Tensor

from benchmarks.loader.peers import SECONDS, Batches, Feed
from benchmarks.measuring import machine
from engine.errors import RunFailed

TOUCHED_EVERY = 256  # elements: what the consumer reads of each batch


class FeedTurns:
    """One turn of a feed per call; each goes on with the next epoch."""

    def __init__(self, feed: Feed, threads: int, seconds: float = SECONDS) -> None:
        self.feed, self.name, self.setting = feed, feed.name, feed.setting
        self._threads, self._seconds = threads, seconds
        self._epochs = itertools.count()

    def __call__(self) -> float:
        """Images/s over whole epochs."""
        machine.set_threads(self._threads)  # FFCV changes them
        samples, passed = 0, 0.0
        began = time.perf_counter()
        while passed < self._seconds:
            samples += consume(self.feed.epoch(next(self._epochs)))
            passed = time.perf_counter() - began
        return samples / passed

    def warm_up(self, samples: int) -> None:
        """An uncounted epoch that must deliver the ids 0 to `samples` - 1, each once."""
        machine.set_threads(self._threads)
        check_delivery(self.feed.name, self.feed.epoch(next(self._epochs)), samples)


def consume(batches: Batches) -> int:
    """Touch a strided part of every batch, as cheaply for each loader; how many samples came."""
    samples = 0
    total: Tensor | int = 0
    for images, labels in batches:
        total = touch(images) + labels.sum() + total
        samples += len(labels)
    float(total)  # waits for a GPU
    return samples


def touch(images: Tensor) -> Tensor:
    """The sum of one element in 256 of a batch, in the order in which it lies in memory."""
    return images.as_strided((-(-images.numel() // TOUCHED_EVERY),), (TOUCHED_EVERY,)).sum()


def check_delivery(name: str, batches: Batches, samples: int) -> None:
    """Raise unless the labels of `batches`, which are sample ids, are 0 to `samples` - 1."""
    parts = [torch.empty(0, dtype=torch.int64)]
    for images, labels in batches:
        if len(images) != len(labels):
            raise RunFailed(f"{name}: {len(images)} images came with {len(labels)} labels")
        parts.append(labels.to("cpu", copy=True))  # some loaders reuse the memory of a batch
    ids = torch.cat(parts)
    known = torch.bincount(ids[(ids >= 0) & (ids < samples)], minlength=samples)
    missing, repeated = int((known == 0).sum()), int((known > 1).sum())
    if len(ids) != samples or missing or repeated:
        raise RunFailed(
            f"{name}: delivered {len(ids):,} of {samples:,} samples in an epoch "
            f"({missing:,} missing, {repeated:,} repeated): its rate would not be comparable"
        )
