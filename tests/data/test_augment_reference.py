"""The specification of the augmentation equals torchvision; flips follow their setting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from engine.data.augment import reference
from engine.data.transform import FLIPS, Transform
from engine.errors import UserError
from tests.support.augment import store

TORCHVISION = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


@pytest.mark.parametrize("mode", TORCHVISION)
def test_the_reference_equals_torchvision(mode: str) -> None:
    image = store(32, 32)[0]
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for row, column, flip in [(0, 0, False), (8, 8, True), (3, 7, True), (4, 4, False)]:
        padded = functional.pad(tensor, [4], padding_mode=TORCHVISION[mode])
        crop = functional.crop(padded, row, column, 32, 32)
        expected = functional.hflip(crop) if flip else crop
        ours = reference.crop_flip(image, row, column, flip, 4, mode)
        assert (ours == expected.permute(1, 2, 0).numpy()).all()


def test_a_cutout_is_black_and_touches_nothing_else() -> None:
    image = store(9, 9)[0] | 1
    out = reference.cut_out(image, 2, 5, 4)
    assert not out[2:6, 5:9].any()
    assert (out != image).any(2).sum() == 16


@pytest.mark.parametrize("flip", FLIPS)
def test_flips_follow_their_setting(flip: str) -> None:
    ids = np.arange(4000)
    epochs = [
        reference.geometry(Transform(flip=flip), 3, epoch, ids, 32, 32).flips for epoch in range(4)
    ]
    if flip == "none":
        assert not np.any(epochs)
        return
    assert all(abs(flips.mean() - 0.5) < 0.04 for flips in epochs)
    changes = [(one != other).mean() for one, other in itertools.pairwise(epochs)]
    if flip == "alternating":
        assert changes == [1.0] * 3
    else:
        assert all(abs(share - 0.5) < 0.04 for share in changes)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Transform(padding_mode="wrap"), "padding_mode 'wrap': expected zeros, reflect or edge"),
        (Transform(flip="yes"), "flip 'yes': expected random, alternating or none"),
        (Transform(crop_padding=-1), "crop_padding -1: expected 0 or more"),
        (Transform(crop_padding=32, padding_mode="reflect"), "reflect padding must be smaller"),
        (Transform(cutout=33), "cutout 33: expected 0 to 32"),
    ],
)
def test_a_transform_that_does_not_fit_is_an_error(transform: Transform, message: str) -> None:
    with pytest.raises(UserError, match=message):
        transform.check(32, 40)
