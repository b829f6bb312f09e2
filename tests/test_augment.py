"""The fast augmentation equals the slow reference, and the reference equals torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from engine.data.augment import device, reference

MODES = ("zeros", "reflect", "edge")
TORCHVISION = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


def _images(samples: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (samples, side, side, 3), np.uint8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("side", "padding"), [(32, 4), (32, 0), (8, 7), (5, 2)])
def test_the_batched_augmentation_equals_the_reference_to_the_bit(
    mode: str, side: int, padding: int
) -> None:
    images = _images(20, side)
    random = np.random.default_rng(1)
    ids = random.integers(0, 20, 64)
    rows, columns = random.integers(0, 2 * padding + 1, (2, 64))
    flips = random.integers(0, 2, 64).astype(bool)
    fast = device.crop_flip(
        torch.from_numpy(images), *map(torch.from_numpy, (ids, rows, columns, flips)), padding, mode
    )
    for k in range(64):
        slow = reference.crop_flip(
            images[ids[k]], rows[k], columns[k], bool(flips[k]), padding, mode
        )
        assert (fast[k].numpy() == slow).all()


@pytest.mark.parametrize("mode", MODES)
def test_the_reference_equals_torchvision(mode: str) -> None:
    image = _images(1, 32)[0]
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for row, column, flip in [(0, 0, False), (8, 8, True), (3, 7, True), (4, 4, False)]:
        padded = functional.pad(tensor, [4], padding_mode=TORCHVISION[mode])
        crop = functional.crop(padded, row, column, 32, 32)
        expected = functional.hflip(crop) if flip else crop
        ours = reference.crop_flip(image, row, column, flip, 4, mode)
        assert (ours == expected.permute(1, 2, 0).numpy()).all()


def test_normalising_is_within_one_rounding_of_the_reference() -> None:
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    scale, shift = device.scale_and_shift(mean, std, torch.device("cpu"))
    fast = device.normalise(torch.from_numpy(images), scale, shift, torch.float32)
    slow = reference.normalise(images[0], mean, std)
    assert fast.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(fast[0].permute(1, 2, 0).numpy(), slow, rtol=0, atol=5e-7)
