"""AutoAugment with the CIFAR-10 policy on whole batches, for report 003's ablation.

What torchvision's `AutoAugment(AutoAugmentPolicy.CIFAR10)` does to Pillow images, in
distribution; and to the bit, given the same draw. An image draws one of 25 sub-policies, each of
two operations with its own probability and magnitude; a magnitude that has a sign takes it by a
coin. Pixels are moved without interpolation, and what comes from outside the image is black:
torchvision's defaults, and 003 says nothing else.

Where it stands: on uint8 pixels, after the crop and the flip, before the normalising. 003
compares Normalize, + HorizontalFlip, + Crop and "AutoAugment", and leaves open whether the last
crops and flips too; its words name Normalize alone beside it, so that is how we read it. They
also put Normalize first, but the code normalises last, and AutoAugment needs whole values.

A draw is Philox (`engine.data.counter`) of (seed, AUTOAUGMENT, epoch, sample): word 0 gives the
sub-policy, words 1 and 2 whether its operations are done, the top two bits of word 3 the signs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.data.augment import autoaugment_gpu
from engine.data.augment.operations import ALL_STEPS, NOTHING, SIGNED, Steps, step
from engine.data.augment.operations import Operation as Do
from engine.data.counter import Purpose, below, draws
from engine.data.order import Ids
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
DONE_BELOW = np.array([[round(chance * 2**32) for _, chance, _ in pair] for pair in POLICY])
HAS_SIGN = np.array([[do in SIGNED for do, _, _ in pair] for pair in POLICY])
SIGN_BITS = np.array([31, 30], np.uint32)


def autoaugment(images: Tensor, ids: Ids, seed: int, epoch: int) -> Tensor:
    """The images (B H W 3, uint8) of the samples `ids`, augmented as that epoch's draws say."""
    return apply(images, plan(ids, seed, epoch))


def plan(ids: Ids, seed: int, epoch: int) -> Steps:
    """What is done to the samples `ids` in `epoch`; an epoch's may be drawn at once, then cut."""
    words = draws(seed, Purpose.AUTOAUGMENT, epoch, ids)
    chosen = below(words[:, 0], len(POLICY))
    signs = (words[:, 3:] >> SIGN_BITS) & HAS_SIGN[chosen]
    return np.where(words[:, 1:3] < DONE_BELOW[chosen], STEPS[chosen] + signs, NOTHING)


def apply(images: Tensor, steps: Steps, out: Tensor | None = None) -> Tensor:
    """Both steps of each image (B H W 3, uint8), on its device; `out` may be `images`.

    Nothing is read back from the device: the steps lie with the host, so it knows the groups.
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
        wrong.append(f"images: {_said(images)}; AutoAugment works on uint8 pixels, N H W 3")
    if out.dtype != images.dtype or out.shape != images.shape or out.device != images.device:
        wrong.append(f"out: {_said(out)}; expected the like of images, {_said(images)}")
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


def _said(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
