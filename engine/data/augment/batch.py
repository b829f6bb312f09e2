"""One augmented batch on either device, with or without AutoAugment."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from engine.data.augment import autoaugment, cpu, effects_gpu, gpu
from engine.data.augment.effects import Finish, on_cpu
from engine.data.autoaugment_operations import Steps
from engine.data.counter import Ids
from engine.data.source import SourceBatch
from engine.data.transform import IDENTITY, NO_EFFECTS, Effects, Transform


class AugmentSpec(NamedTuple):
    """All that decides how a sample looks in an epoch."""

    transform: Transform
    seed: int
    constants: cpu.ScaleShift
    effects: Effects = NO_EFFECTS
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)  # of cutout and erasing, as values of the batch

    @property
    def finish(self) -> Finish:
        """The second pass, where there are effects."""
        cutout = self.transform.cutout
        return Finish(self.effects, cutout, self.seed, self.constants, self.fill)


def augment_batch(
    spec: AugmentSpec,
    source: SourceBatch,
    ids: Ids,
    device_ids: Tensor,
    epoch: int,
    steps: Steps | None,
    out: Tensor,
    threads: int | None,
) -> None:
    """Write the samples `ids` to `out` (N C H W in channels_last).

    It takes one pass over the pixels, two with effects, or three with AutoAugment (`steps`), which
    comes after crop and flip and before the cutout.
    """
    if steps is None and spec.effects == NO_EFFECTS:
        _transform(spec, source, ids, device_ids, epoch, out, threads)
        return
    shape = (len(ids), *source.images.shape[1:])
    pixels = torch.empty(shape, dtype=torch.uint8, device=source.images.device)
    first = spec._replace(transform=replace(spec.transform, cutout=0))
    _transform(first, source, ids, device_ids, epoch, pixels.permute(0, 3, 1, 2), threads)
    if steps is not None:
        autoaugment.apply(pixels, steps, out=pixels)
    if spec.effects != NO_EFFECTS:
        if pixels.is_cuda:
            effects_gpu.finish_batch(pixels, device_ids, spec.finish, epoch, out)
        else:
            on_cpu(pixels, ids, spec.finish, epoch, out, threads)
        return
    rows = torch.arange(len(ids), device=pixels.device)
    last = spec._replace(transform=replace(IDENTITY, cutout=spec.transform.cutout))
    _transform(last, SourceBatch(pixels, rows), ids, device_ids, epoch, out, threads)


def _transform(
    spec: AugmentSpec,
    source: SourceBatch,
    ids: Ids,
    device_ids: Tensor,
    epoch: int,
    out: Tensor,
    threads: int | None,
) -> None:
    images, rows = source
    transform, seed, constants, *_ = spec
    if images.device.type != "cpu":
        scale, shift = (each.tolist() for each in constants)
        gpu.augment(
            images, rows, device_ids, transform, seed, epoch, out.dtype, scale, shift, out=out
        )
        return
    memory = out.permute(0, 2, 3, 1)
    if out.dtype == torch.bfloat16:
        memory = memory.view(torch.uint16)
    cpu.augment(
        images.numpy(),
        rows.numpy(),
        ids,
        transform,
        seed,
        epoch,
        memory.numpy(),
        constants,
        threads=threads,
    )
