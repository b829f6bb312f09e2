"""What changes over a run besides the rates: the size of the images, and what is frozen.

They are pure functions of the step, so that resuming needs no state.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from typing import NamedTuple

from engine.config.schema import Config


class Stage(NamedTuple):
    """A part of a run, whose steps all do the same work: one compiled network, one graph."""

    side: int  # to which images are resized, in pixels; 0: their own
    frozen: int  # the stem and so many layers are not trained; 0: none
    frozen_stem: bool = False  # a whitening stem's bias is not trained any more


WHOLE = Stage(0, 0)  # the images' own size, everything trained


def steps_of(config: Config, steps_per_epoch: int) -> int:
    """The steps of the whole run; a fraction of an epoch is rounded to whole steps, at least 1."""
    return max(1, round(config.train.epochs * steps_per_epoch))


def epochs_of(config: Config, steps_per_epoch: int) -> int:
    """The epochs of the whole run, of which the last may be a part."""
    return -(-steps_of(config, steps_per_epoch) // steps_per_epoch)


def stem_bias_steps(epochs: float, steps_per_epoch: int) -> int:
    """The steps in `optim.stem_bias_epochs`."""
    return max(1, round(epochs * steps_per_epoch))


def stage(config: Config, step: int, steps_per_epoch: int) -> Stage:
    """The stage of step `step`, counted from the first of the run."""
    share = step / steps_of(config, steps_per_epoch)
    sizes = zip(config.augment.sizes, config.augment.sizes_until, strict=True)
    side = next((size for size, until in sizes if share < until), 0)
    frozen = config.train.freeze_layers if share >= config.train.freeze_from else 0
    bias = config.optim.stem_bias_epochs
    return Stage(side, frozen, bias is not None and step >= stem_bias_steps(bias, steps_per_epoch))


def stages(config: Config, steps_per_epoch: int) -> list[tuple[Stage, int]]:
    """The stages of the run in order, each with its number of steps."""
    steps = steps_of(config, steps_per_epoch)
    marks = (*config.augment.sizes_until, config.train.freeze_from)
    changes = {bisect_left(range(steps), mark, key=lambda step: step / steps) for mark in marks}
    if config.optim.stem_bias_epochs is not None:
        changes.add(min(stem_bias_steps(config.optim.stem_bias_epochs, steps_per_epoch), steps))
    firsts = sorted({0, *changes} - {steps})
    parts: list[tuple[Stage, int]] = []
    for first, end in itertools.pairwise([*firsts, steps]):
        now = stage(config, first, steps_per_epoch)
        before = 0
        if parts and parts[-1][0] == now:
            before = parts.pop()[1]
        parts.append((now, before + end - first))
    return parts
