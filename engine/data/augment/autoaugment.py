"""AutoAugment with the CIFAR-10 policy on whole batches, for report 003's ablation.

The same distribution as torchvision's `AutoAugment(AutoAugmentPolicy.CIFAR10)` on Pillow
images, and the same bits for the same draw. An image draws one of 25 sub-policies, each of two
operations with a probability and a magnitude; the sign of a signed magnitude is random. Pixels
are moved without interpolation, and pixels from outside the image are black: torchvision's
defaults, which report 003 does not change.

It works on uint8 pixels, after crop and flip, before normalising. Report 003 compares
Normalize, + HorizontalFlip, + Crop and "AutoAugment", and leaves open whether the last also
crops and flips; its text names only Normalize beside it, so that is how we read it. The text
puts Normalize first, but the report's code normalises last, and AutoAugment needs integers.

A draw is Philox (`engine.data.counter`) of (seed, AUTOAUGMENT, epoch, sample): word 0 gives the
sub-policy, words 1 and 2 whether its operations are applied, the top two bits of word 3 the signs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.data.augment import autoaugment_gpu
from engine.data.autoaugment_operations import ALL_STEPS, NOTHING, SIGNED, Steps, step
from engine.data.autoaugment_operations import Operation as Do
from engine.data.counter import Ids, Purpose, below, draws
from engine.errors import UserError

# An operation, its probability, its magnitude where it has one.
Choice = tuple[Do, float, int]
POLICY: tuple[tuple[Choice, Choice], ...] = (
    ((Do.INVERT, 0.1, 0), (Do.CONTRAST, 0.2, 6)),
    ((Do.ROTATE, 0.7, 2), (Do.TRANSLATE_X, 0.3, 9)),
    ((Do.SHARPNESS, 0.8, 1), (Do.SHARPNESS, 0.9, 3)),
    ((Do.SHEAR_Y, 0.5, 8), (Do.TRANSLATE_Y, 0.7, 9)),
    ((Do.AUTO_CONTRAST, 0.5, 0), (Do.EQUALIZE, 0.9, 0)),
    ((Do.SHEAR_Y, 0.2, 7), (Do.POSTERIZE, 0.3, 7)),
    ((Do.COLOR, 0.4, 3), (Do.BRIGHTNESS, 0.6, 7)),
    ((Do.SHARPNESS, 0.3, 9), (Do.BRIGHTNESS, 0.7, 9)),
    ((Do.EQUALIZE, 0.6, 0), (Do.EQUALIZE, 0.5, 0)),
    ((Do.CONTRAST, 0.6, 7), (Do.SHARPNESS, 0.6, 5)),
    ((Do.COLOR, 0.7, 7), (Do.TRANSLATE_X, 0.5, 8)),
    ((Do.EQUALIZE, 0.3, 0), (Do.AUTO_CONTRAST, 0.4, 0)),
    ((Do.TRANSLATE_Y, 0.4, 3), (Do.SHARPNESS, 0.2, 6)),
    ((Do.BRIGHTNESS, 0.9, 6), (Do.COLOR, 0.2, 8)),
    ((Do.SOLARIZE, 0.5, 2), (Do.INVERT, 0.0, 0)),
    ((Do.EQUALIZE, 0.2, 0), (Do.AUTO_CONTRAST, 0.6, 0)),
    ((Do.EQUALIZE, 0.2, 0), (Do.EQUALIZE, 0.6, 0)),
    ((Do.COLOR, 0.9, 9), (Do.EQUALIZE, 0.6, 0)),
    ((Do.AUTO_CONTRAST, 0.8, 0), (Do.SOLARIZE, 0.2, 8)),
    ((Do.BRIGHTNESS, 0.1, 3), (Do.COLOR, 0.7, 0)),
    ((Do.SOLARIZE, 0.4, 5), (Do.AUTO_CONTRAST, 0.9, 0)),
    ((Do.TRANSLATE_Y, 0.9, 9), (Do.TRANSLATE_Y, 0.7, 9)),
    ((Do.AUTO_CONTRAST, 0.9, 0), (Do.SOLARIZE, 0.8, 3)),
    ((Do.EQUALIZE, 0.8, 0), (Do.INVERT, 0.1, 0)),
    ((Do.TRANSLATE_Y, 0.7, 9), (Do.AUTO_CONTRAST, 0.9, 0)),
)

STEPS = np.array([[step(do, magnitude) for do, _, magnitude in pair] for pair in POLICY])
THRESHOLDS = np.array([[round(chance * 2**32) for _, chance, _ in pair] for pair in POLICY])
HAS_SIGN = np.array([[do in SIGNED for do, _, _ in pair] for pair in POLICY])
SIGN_BITS = np.array([31, 30], np.uint32)


def draw_steps(ids: Ids, seed: int, epoch: int) -> Steps:
    """The operations for the samples `ids` in `epoch`: a row each, whatever the other ids."""
    words = draws(seed, Purpose.AUTOAUGMENT, epoch, ids)
    pairs = below(words[:, 0], len(POLICY))
    signs = (words[:, 3:] >> SIGN_BITS) & HAS_SIGN[pairs]
    return np.where(words[:, 1:3] < THRESHOLDS[pairs], STEPS[pairs] + signs, NOTHING)


def apply(images: Tensor, steps: Steps, out: Tensor | None = None) -> Tensor:
    """Apply both steps to each image (B H W 3, uint8), on its device; `out` may be `images`.

    Nothing is read back from the device: the steps are in host memory, so it knows the groups.
    """
    images = images.contiguous()
    if out is None:
        out = torch.empty_like(images)
    _check(images, steps, out)
    if not images.numel():
        return out
    if images.device.type == "cpu":
        from engine.data.kernels import autoaugment  # loads Numba

        autoaugment.apply(images.numpy(), steps, out.numpy())
    else:
        autoaugment_gpu.apply(images, steps, out)
    return out


def _check(images: Tensor, steps: Steps, out: Tensor) -> None:
    wrong = []
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        wrong.append(f"images: {_describe(images)}; AutoAugment works on uint8 pixels, N H W 3")
    if out.dtype != images.dtype or out.shape != images.shape or out.device != images.device:
        wrong.append(f"out: {_describe(out)}; expected the like of images, {_describe(images)}")
    if not out.is_contiguous():
        wrong.append("out: expected contiguous memory")
    if steps.dtype != np.int64 or steps.shape != (len(images), 2) or not steps.flags.c_contiguous:
        wrong.append(
            f"steps: {steps.dtype} {steps.shape}; expected contiguous int64, two for each of "
            f"{len(images)} images"
        )
    elif steps.size and not NOTHING <= steps.min() <= steps.max() < ALL_STEPS:
        wrong.append(f"steps: {steps.min()} to {steps.max()}; expected -1 to {ALL_STEPS - 1}")
    if wrong:
        raise UserError(*wrong)


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
