"""Counter-based randomness: the published function, independent streams."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.counter import Purpose, below, derive, draws, philox

ONES = 0xFFFFFFFF
# Known answers published with the reference implementation (Random123, kat_vectors).
KNOWN = [
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, (ONES, ONES), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_answers(
    counter: list[int], key: tuple[int, int], expected: list[int]
) -> None:
    assert philox(np.array([counter], np.uint32), key)[0].tolist() == expected


def test_a_draw_depends_on_nothing_but_its_own_sample() -> None:
    together = draws(7, Purpose.AUGMENT, 3, np.arange(100))
    alone = draws(7, Purpose.AUGMENT, 3, np.array([42]))
    assert (together[42] == alone[0]).all()


@pytest.mark.parametrize(
    ("seed", "purpose", "epoch"), [(8, 2, 3), (8, 2, 2), (7, 1, 3), (7, 2, 4), (7 + 2**32, 2, 3)]
)
def test_seed_purpose_and_epoch_each_change_the_stream(seed: int, purpose: int, epoch: int) -> None:
    ids = np.arange(2000)
    equal = draws(7, Purpose(2), 3, ids) == draws(seed, Purpose(purpose), epoch, ids)
    assert equal.mean() < 0.001


def test_whole_numbers_below_a_bound_are_uniform() -> None:
    words = draws(0, Purpose.AUGMENT, 0, np.arange(90_000))
    for column in range(3):
        counts = np.bincount(below(words[:, column], 9), minlength=9)
        assert len(counts) == 9
        # chi-square with 8 degrees of freedom: 26.1 is passed by chance once in a thousand
        assert ((counts - 10_000) ** 2 / 10_000).sum() < 26.1


def test_derived_seeds_differ_and_fit_torch() -> None:
    seeds = {derive(s, p, i) for s in (0, 1, 2**62) for p in Purpose for i in range(50)}
    assert len(seeds) == 3 * len(Purpose) * 50
    assert all(0 <= seed < 2**63 for seed in seeds)
