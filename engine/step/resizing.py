"""Images of a smaller or larger side, for the stages of a run that train on such."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resized(images: Tensor, side: int) -> Tensor:
    """Whole images in `side` x `side` pixels, bilinear and antialiased; 0: as they are.

    It is computed in float32 at least, and so returned: rounding before would count twice, and a
    CPU has no antialiased kernel in lower precisions.
    """
    if side in (0, images.shape[-1]):
        return images
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    return interpolate(exact, (side, side), mode="bilinear", antialias=True, align_corners=False)
