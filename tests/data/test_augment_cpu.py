"""The compiled augmentation equals the reference, for any caller and number of threads."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.augment import cpu, reference
from engine.data.counter import Ids
from engine.data.transform import FLIPS, IDENTITY, PADDING_MODES, Transform
from engine.errors import UserError
from tests.support.augment import expected, store

Images = np.ndarray  # N H W 3
Case = tuple[Images, Transform]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CONSTANTS = cpu.scale_and_shift(MEAN, STD)
SIDES = st.integers(1, 40) | st.sampled_from([8, 16, 32, 48])


def _slow(images: Images, ids: Ids, transform: Transform, seed: int = 1, epoch: int = 2) -> Images:
    return expected(images, ids % len(images), ids, transform, seed, epoch)


def _augmented(
    images: Images,
    ids: Ids,
    transform: Transform,
    seed: int = 1,
    epoch: int = 2,
    dtype: Any = np.uint8,
    threads: int = 1,
    rows: Ids | None = None,
) -> np.ndarray:
    rows = ids % len(images) if rows is None else rows
    out = np.full((len(ids), *images.shape[1:]), 77, dtype)
    cpu.augment(images, rows, ids, transform, seed, epoch, out, CONSTANTS, threads=threads)
    return out


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    height, width = draw(SIDES), draw(SIDES)
    mode = draw(st.sampled_from(PADDING_MODES))
    most = min(height, width) - 1 if mode == "reflect" else 50
    transform = Transform(
        crop_padding=draw(
            st.sampled_from([0, 4]).filter(lambda p: p <= most) | st.integers(0, most)
        ),
        padding_mode=mode,
        flip=draw(st.sampled_from(FLIPS)),
        cutout=draw(st.just(0) | st.integers(0, min(height, width))),
    )
    return store(height, width, 5), transform


@settings(deadline=None, max_examples=60)
@given(
    _cases(),
    st.integers(0, 2**64 - 1) | st.integers(0, 5),
    st.integers(0, 2**32 - 1) | st.integers(0, 5),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12),
)
def test_pixels_equal_the_reference_to_the_bit(
    case: Case, seed: int, epoch: int, sample_ids: list[int]
) -> None:
    images, transform = case
    ids = np.array(sample_ids, np.int64)
    fast = _augmented(images, ids, transform, seed, epoch)
    assert (fast == _slow(images, ids, transform, seed, epoch)).all()


@settings(deadline=None, max_examples=30)
@given(_cases(), st.integers(0, 2**64 - 1))
def test_floats_are_within_a_rounding_of_the_reference(case: Case, seed: int) -> None:
    images, transform = case
    ids = np.arange(7)
    slow = reference.normalise(_slow(images, ids, transform, seed), MEAN, STD)
    floats = _augmented(images, ids, transform, seed, dtype=np.float32)
    # Scale, shift and result are each rounded once; no term is greater than 1 / 0.1994 < 8.
    np.testing.assert_allclose(floats, slow, rtol=0, atol=8 * 2.0**-24)
    halves = _augmented(images, ids, transform, seed, dtype=np.uint16)
    rounded = torch.from_numpy(floats).bfloat16().view(torch.uint16).numpy()
    assert (halves == rounded).all()


def test_every_pixel_value_becomes_the_same_float_in_every_channel_and_place() -> None:
    values = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (256, 5, 7, 3)).copy()
    floats = _augmented(images, np.arange(256), IDENTITY, dtype=np.float32)
    assert (floats == floats[:, :1, :1]).all()
    np.testing.assert_allclose(
        floats[:, 0, 0], reference.normalise(images[:, 0, 0], MEAN, STD), rtol=0, atol=8 * 2.0**-24
    )


def test_bfloat16_rounds_ties_to_even() -> None:
    # With a shift of 1 and a scale of 2**-8, odd pixels lie half way between two bfloat16.
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    constants = np.full(3, 2.0**-8, np.float32), np.ones(3, np.float32)
    out = np.empty(images.shape, np.uint16)
    row = np.zeros(1, np.int64)
    cpu.augment(images, row, row, IDENTITY, 0, 0, out, constants, threads=1)
    rounded = (1 + torch.from_numpy(images) / 256).bfloat16().view(torch.uint16).numpy()
    assert (out == rounded).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.uint16])
@pytest.mark.parametrize("batch", [1, 7, 65, 512, 1000])
def test_any_number_of_threads_gives_the_same_batch(dtype: Any, batch: int) -> None:
    images, ids = store(32, 32, 100), np.random.default_rng(1).permutation(batch)
    one = _augmented(images, ids, Transform(cutout=8), dtype=dtype, threads=1)
    for threads in (2, 3, 8):
        many = _augmented(images, ids, Transform(cutout=8), dtype=dtype, threads=threads)
        assert (one == many).all()


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_images_of_any_size_are_shared_among_threads(mode: str) -> None:
    images, ids = store(230, 200, 2), np.arange(6)  # each more than a thread takes at a time
    transform = Transform(crop_padding=28, padding_mode=mode, cutout=50)
    assert (_augmented(images, ids, transform, threads=3) == _slow(images, ids, transform)).all()


def test_a_sample_is_augmented_alike_in_any_batch_and_from_any_row() -> None:
    images, ids = store(32, 32, 200), np.arange(200)
    whole = _augmented(images, ids, Transform())
    part = _augmented(images[50:60].copy(), ids[50:60], Transform(), rows=np.arange(10))
    assert (whole[50:60] == part).all()


def test_only_the_batch_itself_is_written() -> None:
    images, ids = store(5, 7, 9), np.arange(9)
    for dtype in (np.uint8, np.float32, np.uint16):
        memory = np.full((11, 5, 7, 3), 77, dtype)
        cpu.augment(images, ids, ids, Transform(2), 0, 0, memory[1:-1], CONSTANTS, threads=1)
        assert (memory[0] == 77).all() and (memory[-1] == 77).all()


def test_read_only_images_are_read() -> None:
    images, ids = store(32, 32, 3), np.arange(3)
    images.flags.writeable = False
    assert (_augmented(images, ids, IDENTITY) == images).all()


def test_offsets_and_flips_are_uniform() -> None:
    """Read off the pixels themselves: each shows where it came from."""
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[0, :, :, 0], image[0, :, :, 1] = np.arange(1, 17)[:, None], np.arange(1, 17)
    ids = np.arange(20_000)
    out = _augmented(image, ids, Transform(crop_padding=2, padding_mode="edge")).astype(np.int64)
    flips = out[:, 8, 7, 1] > out[:, 8, 8, 1]
    columns = np.where(flips, out[:, 8, 7, 1] - 9, out[:, 8, 8, 1] - 9)
    rows = out[:, 8, 8, 0] - 9
    cells = ((rows + 2) * 5 + columns + 2) * 2 + flips
    counts = np.bincount(cells, minlength=50)
    assert len(counts) == 50
    # chi-square with 49 degrees of freedom: 85.4 is passed by chance once in a thousand
    assert ((counts - 400) ** 2 / 400).sum() < 85.4


def test_several_threads_may_call_at_once() -> None:
    images, ids = store(32, 32, 300), np.arange(600) % 300
    alone = {seed: _augmented(images, ids, Transform(), seed) for seed in range(4)}
    wrong: list[int] = []

    def caller(seed: int) -> None:
        for _ in range(40):
            if (_augmented(images, ids, Transform(), seed, threads=3) != alone[seed]).any():
                wrong.append(seed)

    callers = [threading.Thread(target=caller, args=(seed,)) for seed in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(50)
    assert not wrong and not any(each.is_alive() for each in callers)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_augments_and_exits() -> None:
    images, ids = store(32, 32, 300), np.arange(600) % 300
    whole = _augmented(images, ids, Transform(), threads=2)

    def augment_again() -> None:
        for _ in range(3):
            assert (_augmented(images, ids, Transform(), threads=2) == whole).all()

    child = multiprocessing.get_context("fork").Process(target=augment_again)
    child.start()
    child.join(40)
    assert child.exitcode == 0
    augment_again()


IMAGES, ZEROS = store(32, 32, 5), np.zeros((3, 32, 32, 3), np.uint8)
WRONG_CALLS = {
    "a row past the store": ({"rows": np.array([0, 5, 1])}, "row 5 is outside .* 4"),
    "a negative row": ({"rows": np.array([0, -1, 1])}, "row -1 is outside"),
    "rows of another length": ({"rows": np.arange(2)}, "2 rows for 3 ids"),
    "rows as int32": ({"rows": np.arange(3, dtype=np.int32)}, "rows: int32 3; expected int64"),
    "strided ids": ({"ids": np.arange(6)[::2]}, "ids: int64 3; expected .*contiguous"),
    "float images": ({"images": IMAGES.astype(np.float32)}, "images: float32"),
    "grey images": ({"images": IMAGES[..., :1].copy()}, "images: uint8 5x32x32x1"),
    "transposed images": ({"images": IMAGES.transpose(0, 2, 1, 3)}, "contiguous"),
    "no image": ({"images": IMAGES[:0]}, "at least one pixel"),
    "another shape": ({"out": ZEROS[:, :, :31].copy()}, "expected the shape"),
    "a short batch": ({"out": ZEROS[:2]}, "expected the shape"),
    "doubles": ({"out": ZEROS.astype(np.float64)}, "out: float64"),
    "floats without constants": ({"out": ZEROS.astype(np.float32)}, "constants"),
    "a read-only batch": (
        {"out": np.frombuffer(bytes(9216), np.uint8).reshape(ZEROS.shape)},
        "out",
    ),
    "a negative seed": ({"seed": -1}, "seed -1"),
    "a huge epoch": ({"epoch": 2**32}, "epoch 4294967296"),
    "reflection past the image": ({"transform": Transform(32, "reflect")}, "reflect padding"),
    "too large a cutout": ({"transform": Transform(cutout=33)}, "cutout 33"),
}


@pytest.mark.parametrize(("changed", "message"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_arguments_that_would_read_or_write_elsewhere_are_errors(
    changed: dict[str, Any], message: str
) -> None:
    call: dict[str, Any] = {"images": IMAGES, "rows": np.arange(3), "ids": np.arange(3)}
    call |= {"transform": Transform(), "seed": 0, "epoch": 0, "out": ZEROS.copy()} | changed
    with pytest.raises(UserError, match=message):
        cpu.augment(**call, threads=1)
    assert not call["out"].any()


def test_an_empty_batch_is_no_work() -> None:
    none = np.arange(0)
    cpu.augment(store(32, 32, 2), none, none, Transform(), 0, 0, np.empty((0, 32, 32, 3), np.uint8))
