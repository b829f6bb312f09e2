"""Which samples, in which order: keyed permutations that need no state."""

from __future__ import annotations

import numpy as np

from engine.data.counter import Ids, Purpose, halves


def shuffled(ids: Ids, seed: int, epoch: int) -> Ids:
    """The order in which an epoch visits `ids`; orders of other seeds or epochs are unrelated."""
    return _by_key(ids, seed, Purpose.ORDER, epoch)


def split(samples: int, held_out: int, seed: int) -> tuple[Ids, Ids]:
    """Ids for training and `held_out` ids for validation, both ascending."""
    mixed = _by_key(np.arange(samples, dtype=np.int64), seed, Purpose.SPLIT, 0)
    return np.sort(mixed[held_out:]), np.sort(mixed[:held_out])


def limited(labels: Ids, count: int, seed: int) -> Ids:
    """`count` random ids, ascending, as evenly from all classes as their sizes allow.

    A smaller `count` gives a subset of a larger one.
    """
    mixed = _by_key(np.arange(len(labels), dtype=np.int64), seed, Purpose.LIMIT, 0)
    by_class = np.argsort(labels[mixed], kind="stable")
    sizes = np.bincount(labels[mixed])
    rank = np.empty_like(mixed)  # within the class
    rank[by_class] = np.arange(len(mixed)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept: Ids = np.sort(mixed[np.argsort(rank, kind="stable")[:count]])
    return kept


def _by_key(ids: Ids, seed: int, purpose: Purpose, epoch: int) -> Ids:
    """`ids` sorted, stably, by the 64 bits of their first two words."""
    from engine.data.kernels import sort  # loads Numba

    low, high = halves(seed, epoch)
    ids = np.ascontiguousarray(ids, np.int64)
    out = np.empty_like(ids)
    sort.by_key(ids, low, high, int(purpose), epoch, min(max(len(ids), 2).bit_length(), 20), out)
    return out
