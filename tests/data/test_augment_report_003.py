"""Report 003's levels of augmentation, by their settings: each is torchvision's, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional

from engine.config.schema import Augment, Config, Data, Train
from engine.data.augment import reference
from engine.data.sets import open_sets
from engine.data.transform import Transform
from tests.support.autoaugment import torchvisions
from tests.support.data import Files

SEED = 4
CONSTANTS = [  # the two sets that the reports use, and none
    {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
    {"mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.243, 0.261)},
    {"normalize": False},
]
LEVELS = {
    "normalise": {"crop_padding": 0, "flip": "none"},
    "and flip": {"crop_padding": 0, "flip": "random"},
    "and crop": {"crop_padding": 4, "padding_mode": "reflect", "flip": "random"},
    "crop with zeros": {"crop_padding": 4, "padding_mode": "zeros", "flip": "random"},
    "autoaugment": {"crop_padding": 0, "flip": "none", "autoaugment": True},
    "autoaugment, crop and flip": {
        "crop_padding": 4, "padding_mode": "reflect", "flip": "random", "autoaugment": True,
    },
}  # fmt: skip
PADDING = {"zeros": "constant", "reflect": "reflect"}


def _expected(augment: Augment, pixels: np.ndarray, ids: np.ndarray, epoch: int) -> Tensor:
    """torchvision's transforms in the order of the report's code, drawing what we draw."""
    transform = Transform(augment.crop_padding, augment.padding_mode, augment.flip)
    drawn = reference.geometry(transform, SEED, epoch, ids, 32, 32)
    images = []
    for image, row, column, flip in zip(pixels, *drawn[:3], strict=True):
        out = torch.from_numpy(image).permute(2, 0, 1)
        if augment.crop_padding:
            padding = PADDING[augment.padding_mode]
            out = functional.pad(out, [augment.crop_padding], padding_mode=padding)
            out = functional.crop(out, int(row), int(column), 32, 32)
        out = functional.hflip(out) if flip else out
        images.append(out.permute(1, 2, 0).numpy())
    whole = np.stack(images)
    if augment.autoaugment:
        whole = torchvisions(whole, ids, SEED, epoch)
    floats = torch.from_numpy(whole).permute(0, 3, 1, 2).double() / 255
    if not augment.normalize:
        return floats
    assert not isinstance(augment.mean, str)
    assert not isinstance(augment.std, str)
    return functional.normalize(floats, list(augment.mean), list(augment.std))


@pytest.mark.parametrize("constants", CONSTANTS, ids=["K", "003's", "not normalised"])
@pytest.mark.parametrize("level", LEVELS)
def test_each_level_equals_torchvisions(
    files: Files, level: str, constants: dict[str, object]
) -> None:
    augment = Augment(**LEVELS[level], **constants)  # type: ignore[arg-type]
    config = Config(
        data=Data(str(files.train), str(files.test)),
        train=Train(batch_size=25, seed=SEED),
        augment=augment,
    )
    sets = open_sets(config, torch.device("cpu"))
    # Test images are only normalised, or not even that.
    plain = Augment(crop_padding=0, flip="none", **constants)  # type: ignore[arg-type]
    for loader, setting in ((sets.train, augment), (sets.test, plain)):
        for epoch in (0, 1):
            ids = loader.ids(epoch)
            images = torch.cat([batch.images for batch in loader.epoch(epoch)])
            expected = _expected(setting, loader.beton.images()[ids], ids, epoch)
            torch.testing.assert_close(images.double(), expected, rtol=1e-6, atol=1e-6)
