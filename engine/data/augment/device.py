"""Crop, flip and normalise a whole batch with tensor operations, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def crop_flip(
    images: Tensor,
    ids: Tensor,
    rows: Tensor,
    columns: Tensor,
    flips: Tensor,
    padding: int,
    mode: str,
) -> Tensor:
    """The images `ids`, each padded, cropped at its offset and mirrored where its flip is set."""
    _, height, width, _ = images.shape  # N H W C, uint8
    y = rows[:, None] + torch.arange(height, device=images.device) - padding
    x = torch.arange(width, device=images.device).expand(len(ids), -1)
    x = torch.where(flips[:, None], width - 1 - x, x)
    x = x + columns[:, None] - padding
    inside_y, inside_x = (y >= 0) & (y < height), (x >= 0) & (x < width)
    y, x = _into(y, height, mode), _into(x, width, mode)
    out = images[ids[:, None, None], y[:, :, None], x[:, None, :]]
    if mode == "zeros" and padding:
        out *= (inside_y[:, :, None] & inside_x[:, None, :])[..., None]
    return out


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels times `scale` plus `shift`, as N C H W in channels_last."""
    return torch.addcmul(shift, pixels.float(), scale).to(dtype).permute(0, 3, 1, 2)


def scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The two constants that turn (x / 255 - mean) / std into one multiply and one add."""
    m, s = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    return (1 / (255 * s)).float().to(device), (-m / s).float().to(device)


def _into(index: Tensor, size: int, mode: str) -> Tensor:
    """Positions in the padding moved to the pixel that they show."""
    if mode == "reflect":
        index = index.abs()
        return torch.where(index >= size, 2 * (size - 1) - index, index)
    return index.clamp(0, size - 1)
