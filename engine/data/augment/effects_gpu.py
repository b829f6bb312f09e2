"""The second pass over a batch on a GPU: one launch, and nothing waits for the device.

The same bits as on the CPU: the compiler may not fuse a multiply with an add. Seed, epoch, ids and
the strengths are arguments; which effects there are, image size and dtype are compiled in.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import torch
from torch import Tensor

from engine.data.augment import reference_effects
from engine.data.augment.effects import Finish
from engine.data.counter import Purpose

BLOCK = 1024  # pixels: an image of 32 x 32
WARPS = 4


def finish_batch(
    images: Tensor,
    ids: Tensor,
    finish: Finish,
    epoch: int | Tensor,
    out: Tensor,
    step: Tensor | None = None,
) -> None:
    """Write the cropped `images` (N H W 3, uint8) of the samples `ids` to `out` (N C H W).

    For a CUDA graph, `epoch` and `step` lie on the device as for `gpu.augment`: with `step` the
    ids are a whole epoch's, and the batch begins at step * len(out).
    """
    from engine.data.augment import effects_kernel as kernel  # imports Triton

    number, height, width, _ = images.shape
    if not number:
        return
    effects, constants = finish.effects, (each.tolist() for each in finish.constants)
    sizes = _sizes(height, width, images.device)
    numbers = finish.numbers(height * width).tolist()
    with torch.cuda.device(images.device) if images.is_cuda else nullcontext():
        kernel.finish[(number,)](
            out,
            images,
            ids,
            epoch if isinstance(epoch, Tensor) else int(epoch),
            step,
            sizes,
            finish.seed & 0xFFFFFFFF,
            finish.seed >> 32,
            *(each for part in constants for each in part),
            *finish.fill,
            *numbers,
            EPOCH_IN_MEMORY=isinstance(epoch, Tensor),
            AUGMENT=int(Purpose.AUGMENT),
            JITTER=int(Purpose.JITTER),
            ERASING=int(Purpose.ERASING),
            HEIGHT=height,
            WIDTH=width,
            CUTOUT=finish.cutout,
            BRIGHTNESS=effects.brightness > 0,
            CONTRAST=effects.contrast > 0,
            SATURATION=effects.saturation > 0,
            THRESHOLD=finish.threshold,
            SIZES=len(sizes),
            NORMALISE=out.dtype is not torch.uint8,
            BLOCK=min(BLOCK, 1 << (height * width - 1).bit_length()),
            num_warps=WARPS,
            enable_fp_fusion=False,
        )


@cache  # never freed: recorded graphs read it
def _sizes(height: int, width: int, device: torch.device) -> Tensor:
    return torch.from_numpy(reference_effects.rectangles(height, width)).to(device)
