"""Images of another side: whole, bilinear and antialiased, as written out slowly here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.step.resizing import resized


def _weights(before: int, after: int) -> npt.NDArray[np.float64]:
    """What each pixel before gives to each after: a triangle as wide as the scale, at least 1."""
    scale = before / after
    wide = max(scale, 1.0)
    out = np.zeros((after, before))
    for i in range(after):
        for j in range(before):
            out[i, j] = max(0.0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / wide)
        out[i] /= out[i].sum()
    return out


@pytest.mark.parametrize("side", [5, 20, 28, 31, 33, 48])
def test_resized_images_are_weighted_means_of_their_neighbourhood(side: int) -> None:
    images = torch.randn(3, 3, 32, 32).to(memory_format=torch.channels_last)
    weights = _weights(32, side)
    expected = np.einsum("ih,nchw,jw->ncij", weights, images.double().numpy(), weights)
    out = resized(images, side)
    assert out.shape == (3, 3, side, side)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(out.numpy() - expected).max() < 2e-5


def test_images_of_their_own_side_are_not_touched() -> None:
    images = torch.randn(2, 3, 8, 8, dtype=torch.bfloat16)
    assert resized(images, 0) is images
    assert resized(images, 8) is images


def test_images_in_low_precision_are_resized_in_float32() -> None:
    images = torch.randn(2, 3, 16, 16)
    out = resized(images.bfloat16(), 12)
    assert out.dtype == torch.float32
    assert torch.equal(out, resized(images.bfloat16().float(), 12))
