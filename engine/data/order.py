"""Which samples, in which order: keyed permutations that need no state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.data.counter import Purpose, halves

Ids = npt.NDArray[np.int64]


def shuffled(ids: Ids, seed: int, epoch: int) -> Ids:
    """The order in which an epoch visits `ids`; neighbouring seeds share nothing."""
    return _by_key(ids, seed, Purpose.ORDER, epoch)


def split(samples: int, held_out: int, seed: int) -> tuple[Ids, Ids]:
    """Ids for training and `held_out` ids for validation, both ascending."""
    mixed = _by_key(np.arange(samples, dtype=np.int64), seed, Purpose.SPLIT, 0)
    return np.sort(mixed[held_out:]), np.sort(mixed[:held_out])


def limited(labels: Ids, count: int, seed: int) -> Ids:
    """`count` ids, ascending, drawn so that no class has two more than another, as far as it lasts.

    The choice of fewer is part of the choice of more.
    """
    mixed = _by_key(np.arange(len(labels), dtype=np.int64), seed, Purpose.LIMIT, 0)
    by_class = np.argsort(labels[mixed], kind="stable")
    sizes = np.bincount(labels[mixed])
    place = np.empty_like(mixed)  # among those of its class
    place[by_class] = np.arange(len(mixed)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen: Ids = np.sort(mixed[np.argsort(place, kind="stable")[:count]])
    return chosen


def _by_key(ids: Ids, seed: int, purpose: Purpose, epoch: int) -> Ids:
    """`ids` by the 64 bits of their first two words, equal ones as they came."""
    from engine.data.kernels import sort  # loads Numba

    low, high = halves(seed, epoch)
    ids = np.ascontiguousarray(ids, np.int64)
    out = np.empty_like(ids)
    sort.by_key(ids, low, high, int(purpose), epoch, min(max(len(ids), 2).bit_length(), 20), out)
    return out
