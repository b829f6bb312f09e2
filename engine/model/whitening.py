"""The filters of a whitening stem: the principal components of small patches of images.

A filter is an eigenvector of the patches' covariance, divided by its deviation, so that the
responses to these images are uncorrelated and of unit variance; each comes with both signs, because
an activation follows (Page, 2019; airbench, Jordan, 2024). Sums over pixels are whole numbers,
exact in any order of summation, so that machines differ only in their eigenvalue solver.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from engine.model.blocks import Whitening

IMAGES = 5000  # that the filters are computed from: 4.8 million patches of CIFAR
EPSILON = 5e-4  # added to the variances, so that components without any stay small
LARGEST = 6_000_000  # numbers of patches in memory at a time


def whiten(network: nn.Module, pixels: Iterable[Tensor], std: tuple[float, ...]) -> None:
    """Set the filters of a network's whitening stem, if it has one, from `pixels`.

    These are portions of uint8 images, N H W C; the network sees them divided by 255 and `std`.
    """
    for module in network.modules():
        if isinstance(module, Whitening):
            size = module.kernel_size[0]
            filters = whitening_filters(patch_covariance(pixels, size, std), size)
            with torch.no_grad():
                module.weight.copy_(filters)


def patch_covariance(pixels: Iterable[Tensor], size: int, std: tuple[float, ...]) -> Tensor:
    """The covariance of all patches of size x size pixels, in float64; values in order C H W."""
    values = len(std) * size**2
    count, sums = 0, torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    for portion in pixels:
        patches_per_image = math.prod(side - size + 1 for side in portion.shape[1:3])
        images = max(1, LARGEST // (patches_per_image * values))
        for part in torch.split(portion.cpu(), images):
            planes = part.permute(3, 0, 1, 2).contiguous()  # C N H W
            windows = planes.unfold(2, size, 1).unfold(3, size, 1)  # C N H W size size
            shifted = windows.permute(0, 4, 5, 1, 2, 3).reshape(values, -1)  # still uint8
            patches = shifted.double()  # a column each
            count += patches.shape[1]
            sums += patches.sum(1)
            products += patches @ patches.T
    deviations = [255 * each for each in std for _ in range(size**2)]
    whole = [int(each) for each in sums.tolist()]
    covariance = [
        [
            (count * int(product) - whole[row] * whole[column])
            / (count**2 * (deviations[row] * deviations[column]))
            for column, product in enumerate(line)
        ]
        for row, line in enumerate(products.tolist())
    ]
    return torch.tensor(covariance, dtype=torch.float64)


def whitening_filters(covariance: Tensor, size: int) -> Tensor:
    """The components scaled to unit variance, largest first, then all with the other sign."""
    variances, vectors = torch.linalg.eigh(covariance)
    components = vectors.T.flip(0)  # a row each
    # A solver may return either sign: the first large value is made positive.
    large = components.abs() >= components.abs().amax(1, keepdim=True) / 2
    first = components.gather(1, large.int().argmax(1, keepdim=True))
    components = components * first.sign()
    scaled = components / (variances.flip(0).clamp(min=0) + EPSILON).sqrt()[:, None]
    return torch.cat([scaled, -scaled]).float().reshape(2 * len(scaled), -1, size, size)
