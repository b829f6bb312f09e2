"""Random draws that can be repeated from any step.

A draw is a pure function of (seed, purpose, epoch, sample), so resuming needs no saved state,
and adding a draw in one place moves none elsewhere. The function is Philox 4x32-10 (Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), which a GPU kernel can repeat to
the bit.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from engine.errors import UserError

Ids = npt.NDArray[np.int64]  # of samples
Words = npt.NDArray[np.uint32]  # draws x 4

MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
ROUNDS = 10
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
WEYL = (0x9E3779B9, 0xBB67AE85)


class Purpose(IntEnum):
    """What a draw is for; two purposes never share a stream. Numbers are never reused."""

    ORDER = 1  # of the samples in an epoch
    AUGMENT = 2  # words: crop row, crop column, flip, cutout row and column
    SPLIT = 3  # of the training set into training and validation
    INIT = 4  # of the weights
    DROPOUT = 5
    AUTOAUGMENT = 6  # words: sub-policy, whether each of its two operations is applied, signs
    LIMIT = 7  # which images a limited training set keeps
    JITTER = 8  # words: factors of brightness, contrast and saturation
    ERASING = 9  # words: whether, the rectangle's size, its row, its column
    MIX = 10  # of two images, per step: MixUp's and CutMix's


def draws(seed: int, purpose: Purpose, epoch: int, samples: Ids) -> Words:
    """Four uniform 32-bit words for each sample id."""
    low, high = halves(seed, epoch)
    counters = np.empty((len(samples), 4), np.uint32)
    counters[:, 0] = samples
    counters[:, 1] = epoch
    counters[:, 2] = high
    counters[:, 3] = 0
    return philox(counters, (low, int(purpose)))


def derive(seed: int, purpose: Purpose, index: int = 0) -> int:
    """A 63-bit seed for another generator (torch's), for one purpose and index."""
    words = draws(seed, purpose, 0, np.array([index], np.int64))[0]
    return (int(words[0]) << 31) ^ int(words[1])


def halves(seed: int, epoch: int) -> tuple[int, int]:
    """The low and the high 32 bits of a seed; a seed or an epoch out of range is an error."""
    if not 0 <= seed < 2**64 or not 0 <= epoch < 2**32:
        raise UserError(
            f"seed {seed}, epoch {epoch}: expected 0 to {2**64 - 1:,} and 0 to {2**32 - 1:,}"
        )
    return seed & 0xFFFFFFFF, seed >> 32


def below(words: npt.NDArray[np.uint32], bound: int) -> npt.NDArray[np.int64]:
    """Words as whole numbers from 0 to `bound` - 1; the bias is at most bound / 2**32."""
    scaled: npt.NDArray[np.uint64] = (words.astype(np.uint64) * np.uint64(bound)) >> SHIFT
    return scaled.astype(np.int64)


def philox(counters: Words, key: tuple[int, int]) -> Words:
    """Philox 4x32-10 of each row of `counters`."""
    x = counters.astype(np.uint64)
    key0, key1 = key
    for _ in range(ROUNDS):
        low = x[:, 0] * MULTIPLIERS[0]
        high = x[:, 2] * MULTIPLIERS[1]
        x = np.stack(
            (
                (high >> SHIFT) ^ x[:, 1] ^ np.uint64(key0),
                high & MASK,
                (low >> SHIFT) ^ x[:, 3] ^ np.uint64(key1),
                low & MASK,
            ),
            axis=1,
        )
        key0 = (key0 + WEYL[0]) & 0xFFFFFFFF
        key1 = (key1 + WEYL[1]) & 0xFFFFFFFF
    return x.astype(np.uint32)
