"""AutoAugment as torchvision does it, with our draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from engine.data.augment.autoaugment import POLICY, apply, draw_steps
from engine.data.counter import Ids, Purpose, below, draws

Images = npt.NDArray[np.uint8]  # N H W 3


def ours(images: Tensor, ids: Ids, seed: int, epoch: int) -> Tensor:
    """The images of the samples `ids`, augmented by the engine."""
    return apply(images, draw_steps(ids, seed, epoch))


def torchvisions(images: Images, ids: Ids, seed: int, epoch: int) -> Images:
    """The same by torchvision's transform, image by image, made to draw what we draw."""
    words = draws(seed, Purpose.AUTOAUGMENT, epoch, ids)
    pairs = below(words[:, 0], len(POLICY))
    results = []
    for image, pair, row in zip(images, pairs, words.tolist(), strict=True):
        transform = AutoAugment(AutoAugmentPolicy.CIFAR10)
        chances = torch.tensor(row[1:3], dtype=torch.float64) / 2**32
        positive = torch.tensor([1 - (row[3] >> 31), 1 - (row[3] >> 30 & 1)])
        drawn = (int(pair), chances, positive)
        transform.get_params = lambda _, drawn=drawn: drawn  # type: ignore[method-assign,misc]
        results.append(np.asarray(transform(Image.fromarray(image))))
    return np.stack(results)
