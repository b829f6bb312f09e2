"""Epoch orders and splits are permutations that share nothing with their neighbours."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.data.order import shuffled, split


@given(st.integers(1, 300), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_an_epoch_visits_every_sample_once(samples: int, seed: int, epoch: int) -> None:
    order = shuffled(np.arange(samples), seed, epoch)
    assert sorted(order.tolist()) == list(range(samples))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    ids = np.arange(1000)
    orders = [shuffled(ids, seed, epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).mean() < 0.02


def test_a_subset_keeps_its_order_when_other_samples_are_left_out() -> None:
    ids = np.arange(500)
    part = ids[::3]
    whole = shuffled(ids, 5, 2)
    assert (whole[np.isin(whole, part)] == shuffled(part, 5, 2)).all()


def test_every_position_is_equally_likely() -> None:
    first = [int(shuffled(np.arange(8), 0, epoch)[0]) for epoch in range(4000)]
    counts = np.bincount(first, minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # 7 degrees of freedom, once in a thousand


@given(st.integers(2, 300), st.integers(0, 10**9), st.data())
def test_a_split_is_seeded_and_loses_nothing(samples: int, seed: int, data: st.DataObject) -> None:
    held_out = data.draw(st.integers(1, samples - 1))
    train, validation = split(samples, held_out, seed)
    assert len(validation) == held_out
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(samples))
    again = split(samples, held_out, seed)
    assert (again[0] == train).all() and (again[1] == validation).all()


def test_another_seed_splits_otherwise() -> None:
    assert set(split(1000, 100, 0)[1].tolist()) != set(split(1000, 100, 1)[1].tolist())
