"""Which samples, in which order: keyed permutations that need no state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.data.counter import Purpose, draws

Ids = npt.NDArray[np.int64]


def shuffled(ids: Ids, seed: int, epoch: int) -> Ids:
    """The order in which an epoch visits `ids`; neighbouring seeds share nothing."""
    return _by_key(ids, seed, Purpose.ORDER, epoch)


def split(samples: int, held_out: int, seed: int) -> tuple[Ids, Ids]:
    """Ids for training and `held_out` ids for validation, both ascending."""
    mixed = _by_key(np.arange(samples, dtype=np.int64), seed, Purpose.SPLIT, 0)
    return np.sort(mixed[held_out:]), np.sort(mixed[:held_out])


def _by_key(ids: Ids, seed: int, purpose: Purpose, epoch: int) -> Ids:
    words = draws(seed, purpose, epoch, ids).astype(np.uint64)
    keys = (words[:, 0] << np.uint64(32)) | words[:, 1]
    return ids[np.argsort(keys, kind="stable")]
