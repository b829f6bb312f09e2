"""The compiled augmentation equals the reference, for any caller and number of threads."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.augment import cpu, reference
from engine.data.transform import FLIPS, IDENTITY, PADDING_MODES, Transform
from engine.errors import UserError

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CONSTANTS = cpu.scale_and_shift(MEAN, STD)
SIDES = st.integers(1, 40) | st.sampled_from([8, 16, 32, 48])


def _images(samples: int, height: int = 32, width: int = 32) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (samples, height, width, 3), np.uint8)


def _augmented(
    images: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.int64],
    transform: Transform,
    seed: int = 1,
    epoch: int = 2,
    dtype: Any = np.uint8,
    threads: int = 1,
    rows: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[Any]:
    rows = ids % len(images) if rows is None else rows
    out = np.full((len(ids), *images.shape[1:]), 77, dtype)
    cpu.augment(images, rows, ids, transform, seed, epoch, out, CONSTANTS, threads=threads)
    return out


def _slow(
    images: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.int64],
    transform: Transform,
    seed: int = 1,
    epoch: int = 2,
) -> npt.NDArray[np.uint8]:
    each = [reference.augment(images[k % len(images)], int(k), transform, seed, epoch) for k in ids]
    return np.stack(each)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[npt.NDArray[np.uint8], Transform]:
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
    return _images(5, height, width), transform


@settings(deadline=None, max_examples=60)
@given(
    _cases(),
    st.integers(0, 2**64 - 1) | st.integers(0, 5),
    st.integers(0, 2**32 - 1) | st.integers(0, 5),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12),
)
def test_pixels_equal_the_reference_to_the_bit(
    case: tuple[npt.NDArray[np.uint8], Transform], seed: int, epoch: int, sample_ids: list[int]
) -> None:
    images, transform = case
    ids = np.array(sample_ids, np.int64)
    fast = _augmented(images, ids, transform, seed, epoch)
    assert (fast == _slow(images, ids, transform, seed, epoch)).all()


@settings(deadline=None, max_examples=30)
@given(_cases(), st.integers(0, 2**64 - 1))
def test_floats_are_within_a_rounding_of_the_reference(
    case: tuple[npt.NDArray[np.uint8], Transform], seed: int
) -> None:
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
    expected = (values / 255 - np.array(MEAN)[:, None]) / np.array(STD)[:, None]
    np.testing.assert_allclose(floats[:, 0, 0], expected.T, rtol=0, atol=8 * 2.0**-24)


def test_bfloat16_rounds_ties_to_even() -> None:
    # With a shift of 1 and a scale of 2**-8, odd pixels lie half way between two bfloat16.
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    constants = np.full(3, 2.0**-8, np.float32), np.ones(3, np.float32)
    out = np.empty(images.shape, np.uint16)
    row = np.zeros(1, np.int64)
    cpu.augment(images, row, row, IDENTITY, 0, 0, out, constants, threads=1)
    expected = (1 + torch.from_numpy(images) / 256).bfloat16().view(torch.uint16).numpy()
    assert (out == expected).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.uint16])
@pytest.mark.parametrize("batch", [1, 7, 65, 512, 1000])
def test_any_number_of_threads_gives_the_same_batch(dtype: Any, batch: int) -> None:
    images, ids = _images(100), np.random.default_rng(1).permutation(batch)
    one = _augmented(images, ids, Transform(cutout=8), dtype=dtype, threads=1)
    for threads in (2, 3, 8):
        many = _augmented(images, ids, Transform(cutout=8), dtype=dtype, threads=threads)
        assert (one == many).all()


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_images_of_any_size_are_shared_among_threads(mode: str) -> None:
    images, ids = _images(2, 230, 200), np.arange(6)  # each more than a thread takes at a time
    transform = Transform(crop_padding=28, padding_mode=mode, cutout=50)
    assert (_augmented(images, ids, transform, threads=3) == _slow(images, ids, transform)).all()


def test_a_sample_is_augmented_alike_in_any_batch_and_from_any_row() -> None:
    images, ids = _images(200), np.arange(200)
    whole = _augmented(images, ids, Transform())
    part = _augmented(images[50:60].copy(), ids[50:60], Transform(), rows=np.arange(10))
    assert (whole[50:60] == part).all()


def test_only_the_batch_itself_is_written() -> None:
    images, ids = _images(9, 5, 7), np.arange(9)
    for dtype in (np.uint8, np.float32, np.uint16):
        memory = np.full((11, 5, 7, 3), 77, dtype)
        cpu.augment(images, ids, ids, Transform(2), 0, 0, memory[1:-1], CONSTANTS, threads=1)
        assert (memory[0] == 77).all() and (memory[-1] == 77).all()


def test_read_only_images_are_read() -> None:
    images, ids = _images(3), np.arange(3)
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
    images, ids = _images(300), np.arange(600) % 300
    expected = {seed: _augmented(images, ids, Transform(), seed) for seed in range(4)}
    wrong: list[int] = []

    def caller(seed: int) -> None:
        for _ in range(40):
            if (_augmented(images, ids, Transform(), seed, threads=3) != expected[seed]).any():
                wrong.append(seed)

    callers = [threading.Thread(target=caller, args=(seed,)) for seed in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(50)
    assert not wrong and not any(each.is_alive() for each in callers)


def _child(expected: npt.NDArray[np.uint8]) -> None:
    images, ids = _images(300), np.arange(600) % 300
    ok = all((_augmented(images, ids, Transform(), threads=2) == expected).all() for _ in range(3))
    raise SystemExit(0 if ok else 1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_augments_and_exits() -> None:
    images, ids = _images(300), np.arange(600) % 300
    expected = _augmented(images, ids, Transform(), threads=2)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(expected,))
    child.start()
    child.join(40)
    assert child.exitcode == 0
    assert (_augmented(images, ids, Transform(), threads=2) == expected).all()


def _wrong_calls() -> dict[str, tuple[dict[str, Any], str]]:
    ids = np.arange(3)
    return {
        "a row past the store": ({"rows": np.array([0, 5, 1])}, "row 5 is outside .* 4"),
        "a negative row": ({"rows": np.array([0, -1, 1])}, "row -1 is outside"),
        "rows of another length": ({"rows": np.arange(2)}, "2 rows for 3 ids"),
        "rows as int32": ({"rows": ids.astype(np.int32)}, "rows: int32 3; expected int64"),
        "strided ids": ({"ids": np.arange(6)[::2]}, "ids: int64 3; expected .*contiguous"),
        "float images": ({"images": _images(5).astype(np.float32)}, "images: float32"),
        "grey images": ({"images": _images(5)[..., :1].copy()}, "images: uint8 5x32x32x1"),
        "transposed images": ({"images": _images(5).transpose(0, 2, 1, 3)}, "contiguous"),
        "no image": ({"images": _images(5)[:0]}, "at least one pixel"),
        "another shape": ({"out": np.empty((3, 32, 31, 3), np.uint8)}, "expected the shape"),
        "a short batch": ({"out": np.empty((2, 32, 32, 3), np.uint8)}, "expected the shape"),
        "doubles": ({"out": np.empty((3, 32, 32, 3))}, "out: float64"),
        "a negative seed": ({"seed": -1}, "seed -1"),
        "a huge epoch": ({"epoch": 2**32}, "epoch 4294967296"),
        "reflection past the image": ({"transform": Transform(32, "reflect")}, "reflect padding"),
        "too large a cutout": ({"transform": Transform(cutout=33)}, "cutout 33"),
        "floats without constants": ({"out": np.empty((3, 32, 32, 3), np.float32)}, "constants"),
    }


@pytest.mark.parametrize("name", _wrong_calls())
def test_arguments_that_would_read_or_write_elsewhere_are_errors(name: str) -> None:
    changed, message = _wrong_calls()[name]
    call: dict[str, Any] = {
        "images": _images(5),
        "rows": np.arange(3),
        "ids": np.arange(3),
        "transform": Transform(),
        "seed": 0,
        "epoch": 0,
        "out": np.full((3, 32, 32, 3), 77, np.uint8),
    }
    call |= changed
    before = call["out"].copy()
    with pytest.raises(UserError, match=message):
        cpu.augment(**call, threads=1)
    assert (call["out"].view(np.uint8) == before.view(np.uint8)).all()


def test_a_read_only_batch_is_refused() -> None:
    out = np.zeros((3, 32, 32, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises(UserError, match="out"):
        cpu.augment(_images(5), np.arange(3), np.arange(3), Transform(), 0, 0, out, threads=1)


def test_an_empty_batch_is_no_work() -> None:
    none = np.arange(0)
    cpu.augment(_images(2), none, none, Transform(), 0, 0, np.empty((0, 32, 32, 3), np.uint8))
