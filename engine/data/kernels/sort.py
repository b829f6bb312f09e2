"""The compiled sort of `engine.data.order`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.counter import MASK, MULTIPLIERS, ROUNDS, SHIFT, WEYL
from engine.data.kernels.jit import IDS, READ_IDS, eager_njit, inline_njit, types

Array = npt.NDArray[Any]

M0, M1 = MULTIPLIERS
W0, W1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])
BLOCK = 64  # samples that go through Philox side by side, in vectors: 4 times as fast


@inline_njit
def draw(ids: Array, seed_low: int, seed_high: int, purpose: int, epoch: int, keys: Array) -> None:
    """The first two words of each sample's `engine.data.counter.draws`, as one number."""
    x0, x1 = np.zeros(BLOCK, np.uint64), np.zeros(BLOCK, np.uint64)
    x2, x3 = np.zeros(BLOCK, np.uint64), np.zeros(BLOCK, np.uint64)
    for first in range(0, len(ids), BLOCK):
        size = min(BLOCK, len(ids) - first)
        for j in range(size):
            x0[j], x1[j] = np.uint64(ids[first + j]) & MASK, np.uint64(epoch)
            x2[j], x3[j] = np.uint64(seed_high), np.uint64(0)
        key0, key1 = np.uint64(seed_low), np.uint64(purpose)
        for _ in range(ROUNDS):
            for j in range(BLOCK):
                low, high = x0[j] * M0, x2[j] * M1
                x0[j], x1[j] = (high >> SHIFT) ^ x1[j] ^ key0, high & MASK
                x2[j], x3[j] = (low >> SHIFT) ^ x3[j] ^ key1, low & MASK
            key0, key1 = (key0 + W0) & MASK, (key1 + W1) & MASK
        for j in range(size):
            keys[first + j] = (x0[j] << SHIFT) | x1[j]


@eager_njit(types.void(READ_IDS, *[types.int64] * 5, IDS))
def by_key(
    ids: Array, seed_low: int, seed_high: int, purpose: int, epoch: int, bits: int, out: Array
) -> None:
    """`ids` sorted, stably, by their 64-bit draws.

    One counting pass moves each to the bucket of its key's first bits. With as many buckets as
    ids these hold one or two, so the insertion sort that follows hardly moves anything.
    """
    count = len(ids)
    keys, sorted_keys = np.empty(count, np.uint64), np.empty(count, np.uint64)
    draw(ids, seed_low, seed_high, purpose, epoch, keys)
    starts = np.zeros((1 << bits) + 1, np.int64)
    drop = np.uint64(64 - bits)
    for k in range(count):
        starts[np.int64(keys[k] >> drop) + 1] += 1
    for k in range(1 << bits):
        starts[k + 1] += starts[k]
    for k in range(count):
        bucket = np.int64(keys[k] >> drop)
        place = starts[bucket]
        starts[bucket] += 1
        sorted_keys[place], out[place] = keys[k], ids[k]
    for k in range(1, count):
        key, sample = sorted_keys[k], out[k]
        j = k
        while j > 0 and sorted_keys[j - 1] > key:
            sorted_keys[j], out[j] = sorted_keys[j - 1], out[j - 1]
            j -= 1
        sorted_keys[j], out[j] = key, sample
