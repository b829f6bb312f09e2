"""The GPU kernel equals the reference, on a GPU and without one.

Each test runs on what Triton compiles for an H200, by a small PTX machine; on a GPU, where there
is one; and (slow) by Triton's interpreter, in a process of its own.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.data.augment import gpu
from engine.data.loader import Loader
from engine.data.transform import FLIPS, IDENTITY, PADDING_MODES, Transform
from tests.support import augment
from tests.support.data import Files
from tests.support.processes import interpreted

pytest.importorskip("triton", reason="Triton is not installed")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
WAYS = ["interpreter"] if INTERPRETED else ["compiled", CUDA]

SCALE, SHIFT = np.float32([0.0193, 0.0197, 0.0195]), np.float32([-2.429, -2.418, -2.221])
TRANSFORMS = [
    IDENTITY,
    *(Transform(3, *each) for each in itertools.product(PADDING_MODES, FLIPS, (0, 3))),
]
#                   height width padding  seed        epoch
SIZES = {
    "cifar":       (32, 32, 4, 3, 0),
    "odd":         (5, 7, 3, 2**32 - 1, 1),
    "mnist":       (28, 28, 2, 2**32, 7),
    "tiles":       (64, 40, 4, 2**40 + 7, 2**31 + 5),
    "one pixel":   (1, 1, 2, 2**64 - 1, 2**32 - 1),
    "wide":        (2, 48, 20, 2**63 + 11, 300),
    "no padding":  (8, 8, 0, 12345, 2),
}  # fmt: skip


@pytest.fixture(params=WAYS)
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if request.param == "compiled":
        request.getfixturevalue("pretend_gpu")
    return "cuda" if request.param == "cuda" else "cpu"


def _equal(out: Tensor, *arguments: Any) -> bool:
    """Whether a batch is the reference's."""
    return np.array_equal(augment.pixels(out), augment.expected(*arguments))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_every_transform_gives_the_reference_to_the_bit(device: str, transform: Transform) -> None:
    images = augment.store(6, 8)
    rows, ids = augment.batch(images, 5)
    for epoch in np.int64([4, 5]):  # alternating flips see both; NumPy's integers are accepted
        seed = np.int64(2**35 + 1)
        out = gpu.augment(*augment.on(device, images, rows, ids), transform, seed, epoch)
        assert _equal(out, images, rows, ids, transform, seed, epoch)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_seed_and_epoch_gives_the_reference_to_the_bit(device: str, size: str) -> None:
    height, width, padding, seed, epoch = SIZES[size]
    images = augment.store(height, width)
    mode = "zeros" if padding >= min(height, width) else "reflect"
    transform = Transform(padding, mode, "random", min(height, width, 4) // 2)
    rows, ids = augment.batch(images, 4)
    out = gpu.augment(*augment.on(device, images, rows, ids), transform, seed, epoch)
    assert _equal(out, images, rows, ids, transform, seed, epoch)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.shape == (4, 3, height, width)


@pytest.mark.parametrize("part", [slice(0), slice(1), slice(1, 4), slice(4, 11), slice(130)])
def test_any_part_of_an_epochs_ids_is_a_batch(device: str, part: slice) -> None:
    images, transform = augment.store(4, 4), Transform(2)
    rows, ids = augment.batch(images, 130)
    store, all_rows, all_ids = augment.on(device, images, rows, ids)
    out = gpu.augment(store, all_rows[part], all_ids[part], transform, 5, 1)
    expected = augment.expected(images, rows, ids, transform, 5, 1)[part]
    assert np.array_equal(augment.pixels(out), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("transform", [IDENTITY, Transform(4, "zeros", "random", 5)], ids=str)
def test_floats_are_rounded_once(device: str, dtype: torch.dtype, transform: Transform) -> None:
    images = augment.store(32, 32)
    rows, ids = augment.batch(images, 3)
    out = gpu.augment(*augment.on(device, images, rows, ids), transform, 9, 3, dtype, SCALE, SHIFT)
    pixels = augment.expected(images, rows, ids, transform, 9, 3).astype(np.float64)
    exact = pixels * SCALE.astype(np.float64) + SHIFT
    floats = augment.pixels(out.double())
    # The interpreter cuts bfloat16 off where the GPU rounds it; float32 rounds two steps.
    unit = torch.finfo(dtype).eps / (1 if INTERPRETED and dtype is torch.bfloat16 else 2)
    assert (np.abs(floats - exact) <= unit * np.abs(exact) + 5e-7).all()
    assert out.dtype is dtype
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_on_the_device_is_that_epoch(device: str) -> None:
    images, transform = augment.store(8, 8), Transform(2, flip="alternating")
    rows, ids = augment.batch(images, 4)
    moment = torch.tensor(0, device=device)
    for epoch in (0, 1, 2**31 + 1):
        moment.fill_(epoch)
        out = gpu.augment(*augment.on(device, images, rows, ids), transform, 1, moment)
        assert _equal(out, images, rows, ids, transform, 1, epoch)


def test_a_step_on_the_device_picks_the_batch_of_the_epoch(device: str) -> None:
    images, transform = augment.store(8, 8), Transform(2)
    rows, ids = augment.batch(images, 12)
    expected = augment.expected(images, rows, ids, transform, 1, 6)
    out = torch.empty((4, 3, 8, 8), dtype=torch.uint8, device=device)
    out = out.to(memory_format=torch.channels_last)
    for step in range(3):
        at = torch.tensor(step, device=device)
        gpu.augment(*augment.on(device, images, rows, ids), transform, 1, 6, out=out, step=at)
        assert (augment.pixels(out) == expected[4 * step : 4 * step + 4]).all()


def test_only_the_output_memory_is_written(device: str) -> None:
    images, transform = augment.store(7, 5), Transform(2)
    rows, ids = augment.batch(images, 3)
    ring = torch.full((5, 7, 5, 3), 77, dtype=torch.uint8, device=device)
    out = ring[1:4].permute(0, 3, 1, 2)
    back = gpu.augment(*augment.on(device, images, rows, ids), transform, 1, 6, out=out)
    assert back is out
    assert _equal(out, images, rows, ids, transform, 1, 6)
    assert (ring[0] == 77).all()
    assert (ring[4] == 77).all()


def test_without_rows_the_store_is_the_batch(device: str) -> None:
    images, transform = augment.store(8, 8), Transform(2)
    _, ids = augment.batch(images, 4)
    store, samples = augment.on(device, images, ids)
    out = gpu.augment(store, None, samples, transform, 1, 6)
    assert _equal(out, images, np.arange(4), ids, transform, 1, 6)


def test_labels_are_gathered_in_the_same_launch(device: str) -> None:
    images, transform = augment.store(64, 40), Transform(2)  # several programs an image
    rows, ids = augment.batch(images, 5)
    labels = torch.arange(6, device=device) * 10 - 1
    gathered = torch.full((5,), -9, device=device)
    gpu.augment(
        *augment.on(device, images, rows, ids), transform, 1, 6, labels=labels, labels_out=gathered
    )
    assert (gathered.cpu().numpy() == rows * 10 - 1).all()


def test_the_loader_makes_the_same_pixels_on_the_cpu(device: str, files: Files) -> None:
    loader = Loader(files.train, 3, seed=3, dtype=torch.uint8, subset=np.arange(4))
    store = loader.beton.images()
    for epoch in (0, 1):
        ids = loader.ids(epoch)
        images = torch.cat([batch.images for batch in loader.epoch(epoch)])
        out = gpu.augment(*augment.on(device, store, ids, ids), Transform(), 3, epoch)
        assert torch.equal(out.cpu(), images)


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="this is its process")
def test_tritons_interpreter_gives_the_same(tmp_path: Path) -> None:
    output = interpreted(__file__, tmp_path)
    assert re.search(r"\b[3-9]\d passed", output)
