"""Epoch orders and splits: each sample once, sorted by a key of its own, from a seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.counter import Purpose, draws
from engine.data.order import limited, shuffled, split
from engine.errors import UserError


def test_every_position_is_equally_likely() -> None:
    first = [int(shuffled(np.arange(8), 0, epoch)[0]) for epoch in range(4000)]
    counts = np.bincount(first, minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # 7 degrees of freedom, once in a thousand


@settings(deadline=None)
@given(st.integers(2, 300), st.integers(0, 10**9), st.data())
def test_a_split_is_seeded_and_loses_nothing(samples: int, seed: int, data: st.DataObject) -> None:
    held_out = data.draw(st.integers(1, samples - 1))
    train, validation = split(samples, held_out, seed)
    assert len(validation) == held_out
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(samples))
    again = split(samples, held_out, seed)
    assert (again[0] == train).all() and (again[1] == validation).all()


def _slowly(ids: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    words = draws(seed, Purpose.ORDER, epoch, ids).astype(np.uint64)
    return ids[np.argsort((words[:, 0] << np.uint64(32)) | words[:, 1], kind="stable")]


@settings(deadline=None)
@given(
    st.integers(0, 3000),
    st.integers(0, 2**64 - 1) | st.integers(0, 3),
    st.integers(0, 2**32 - 1) | st.integers(0, 3),
    st.integers(1, 2**32 - 1),
)
def test_the_order_is_the_sort_by_key(samples: int, seed: int, epoch: int, most: int) -> None:
    ids = np.random.default_rng(samples).integers(0, most, samples)  # some of them twice
    assert (shuffled(ids, seed, epoch) == _slowly(ids, seed, epoch)).all()


def test_the_order_of_a_large_set_is_the_sort_by_key() -> None:
    for samples in (50_000, 1_200_000):
        ids = np.arange(samples)
        assert (shuffled(ids, 7, 3) == _slowly(ids, 7, 3)).all()


def test_the_ids_passed_in_are_unchanged() -> None:
    ids = np.arange(100)
    shuffled(ids, 0, 0)
    assert (ids == np.arange(100)).all()


@pytest.mark.parametrize(("seed", "epoch"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
def test_a_seed_or_an_epoch_out_of_range_is_refused(seed: int, epoch: int) -> None:
    with pytest.raises(UserError, match=f"seed {seed}, epoch {epoch}"):
        shuffled(np.arange(3), seed, epoch)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 2**63 - 1), st.data())
def test_a_limit_takes_equal_shares_of_the_classes(
    classes: list[int], seed: int, data: st.DataObject
) -> None:
    labels = np.array(classes, np.int64)
    count = data.draw(st.integers(1, len(labels)))
    ids = limited(labels, count, seed)
    assert sorted(set(ids.tolist())) == ids.tolist()
    assert len(ids) == count
    there, taken = np.bincount(labels, minlength=5), np.bincount(labels[ids], minlength=5)
    for few in range(5):
        for many in range(5):  # one more at most, unless all of the fewer are taken
            assert taken[many] <= taken[few] + 1 or taken[few] == there[few]
    assert (limited(labels, count, seed) == ids).all()
    fewer = limited(labels, data.draw(st.integers(1, count)), seed)
    assert set(fewer.tolist()) <= set(ids.tolist())


def test_a_limit_follows_the_seed_and_is_not_the_order_of_an_epoch() -> None:
    labels = np.arange(1000) % 10
    one, other = limited(labels, 100, 0), limited(labels, 100, 1)
    assert 0 < len(set(one.tolist()) & set(other.tolist())) < 40
    assert (np.bincount(labels[one]) == 10).all()
    first = np.sort(shuffled(np.arange(1000), 0, 0)[:100])
    assert len(set(one.tolist()) & set(first.tolist())) < 40


def test_each_image_is_as_likely_within_its_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int64)
    counts = np.zeros(8)
    for seed in range(2000):
        counts[limited(labels, 2, seed)] += 1
    assert ((counts - 500) ** 2 / 500).sum() < 24.3
