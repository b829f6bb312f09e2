"""Samples from a mapped file: the right bytes in any order, or a clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.kernels.gather import gather
from engine.errors import UserError

Case = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]


def _file(size: int, samples: int = 50, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    view = random.integers(0, 256, 100 + samples * size, np.uint8)
    pointers = 100 + size * random.permutation(samples).astype(np.uint64)
    return view, pointers


@settings(deadline=None)
@given(
    st.integers(1, 300) | st.sampled_from([768, 3072]),
    st.lists(st.integers(0, 49), max_size=200),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_each_row_is_its_sample(size: int, sample_ids: list[int], threads: int, seed: int) -> None:
    view, pointers = _file(size, seed=seed)
    ids = np.array(sample_ids, np.int64)
    out = np.full((len(ids) + 1, size), 77, np.uint8)
    gather(view, pointers, ids, out[:-1], threads=threads)
    for row, sample in zip(out, sample_ids, strict=False):
        begin = int(pointers[sample])
        assert (row == view[begin : begin + size]).all()
    assert (out[-1] == 77).all()


def test_the_last_byte_of_the_file_may_be_read_and_none_after_it() -> None:
    view = np.arange(10, dtype=np.uint8)
    out = np.empty((1, 3), np.uint8)
    gather(view, np.array([7], np.uint64), np.array([0]), out)
    assert out.tolist() == [[7, 8, 9]]
    for pointer in (8, 10, 2**63, 2**64 - 1):
        with pytest.raises(UserError, match="points outside the file"):
            gather(view, np.array([pointer], np.uint64), np.array([0]), out)


@pytest.mark.parametrize("sample", [-1, 50, 2**62])
def test_a_sample_that_does_not_exist_is_refused(sample: int) -> None:
    view, pointers = _file(12)
    out = np.full((2, 12), 77, np.uint8)
    with pytest.raises(UserError, match=f"sample {sample} is outside the 50 samples"):
        gather(view, pointers, np.array([0, sample]), out)
    assert (out == 77).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"view": np.zeros(200, np.int8)},
        {"view": np.zeros((20, 10), np.uint8)},
        {"pointers": np.zeros(5, np.int64)},
        {"ids": np.zeros(3, np.int32)},
        {"ids": np.zeros(6, np.int64)[::2]},
        {"ids": np.zeros(2, np.int64)},
        {"out": np.zeros((3, 12), np.uint16)},
        {"out": np.zeros((3, 24), np.uint8)[:, ::2]},
        {"out": np.zeros((), np.uint8)},
    ],
)
def test_arguments_that_would_read_or_write_elsewhere_are_errors(changed: dict[str, Any]) -> None:
    view, pointers = _file(12)
    call: dict[str, Any] = {"view": view, "pointers": pointers, "ids": np.arange(3)}
    call |= {"out": np.zeros((3, 12), np.uint8)} | changed
    with pytest.raises(UserError, match="gather"):
        gather(**call)
