"""The work of a run: the operations of its training, which images' sizes and frozen layers change.

A multiply-add counts as two operations; forward and backward pass of convolutions and linear
layers are counted, evaluations are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.schema import Config
from engine.model import Variant, budget, resolve
from engine.optim.stages import Stage, stages

VIEWS = {"none": 0, "flip": 2, "six": 6}  # forward passes of each test image by `train.tta`


@dataclass(frozen=True)
class Work:
    """What the steps of a run compute."""

    stages: tuple[tuple[int, int], ...]  # steps, and FLOPs per image in them
    steps_per_epoch: int
    batch_size: int
    images_per_epoch: int  # the last batch of an epoch may be short

    @property
    def total(self) -> int:
        """FLOPs of the whole run."""
        return self.until(sum(steps for steps, _ in self.stages))

    def until(self, step: int) -> int:
        """FLOPs of the first `step` steps of the run."""
        flops = first = 0
        for steps, per_image in self.stages:
            end = min(first + steps, step)
            if end > first:
                flops += (self.images_until(end) - self.images_until(first)) * per_image
            first += steps
        return flops

    def images_until(self, step: int) -> int:
        """The images of the first `step` steps; one counts in each epoch."""
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.images_per_epoch + rest * self.batch_size


def work_of(config: Config, images: int, *, classes: int, side: int) -> Work:
    """The work of training on `images` images of `side`."""
    variant, size = resolve(config.model), config.train.batch_size
    steps = images // size if config.train.drop_last else -(-images // size)
    parts = tuple(
        (length, _flops(variant, classes, side, each)) for each, length in stages(config, steps)
    )
    visited = steps * size if config.train.drop_last else images
    return Work(parts, steps, size, visited)


def _flops(variant: Variant, classes: int, side: int, stage: Stage) -> int:
    cost = budget.flops(
        variant,
        classes,
        side=stage.side or side,
        frozen=stage.frozen,
        frozen_stem=stage.frozen_stem,
    )
    return cost.training
