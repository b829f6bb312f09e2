"""The compiled half of `order`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.augment._kernel import philox
from engine.data.compiled import IDS, READ_IDS, compiled, types
from engine.data.counter import SHIFT

Array = npt.NDArray[Any]


@compiled(types.void(READ_IDS, *[types.int64] * 5, IDS))
def by_key(
    ids: Array, seed_low: int, seed_high: int, purpose: int, epoch: int, bits: int, out: Array
) -> None:
    """`ids` in the order of their 64-bit draws, equal ones as they came.

    One counting pass brings each to the bucket of its key's first bits. With as many buckets as
    ids these hold one or two, so that the sort by insertion that follows hardly moves anything.
    """
    count = len(ids)
    keys = np.empty(count, np.uint64)
    starts = np.zeros((1 << bits) + 1, np.int32)
    drop = np.uint64(64 - bits)
    for k in range(count):
        word0, word1, _, _ = philox(epoch, ids[k], seed_low, seed_high, purpose)
        keys[k] = (word0 << SHIFT) | word1
    for k in range(count):
        starts[np.int64(keys[k] >> drop) + 1] += 1
    for k in range(1 << bits):
        starts[k + 1] += starts[k]
    sorted_keys = np.empty(count, np.uint64)
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
