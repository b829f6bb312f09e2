"""Learning rate and momentum as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.config.schema import Config


class Rates(NamedTuple):
    """What the optimizer runs with for one step."""

    lr: float
    momentum: float  # of SGD, or beta1 of Adam


def rates(config: Config, step: int, steps_per_epoch: int) -> Rates:
    """Learning rate and momentum of the step `step`, counted from the first of the run."""
    optim, schedule = config.optim, config.schedule
    momentum = optim.betas[0] if optim.name == "adam" else optim.momentum
    if schedule.name == "constant":
        return Rates(optim.lr, momentum)
    if schedule.name == "cosine":
        epochs = step / steps_per_epoch if schedule.per == "step" else step // steps_per_epoch
        half_wave = schedule.t_max or config.train.epochs
        return Rates(_cosine(optim.lr, schedule.minimum, epochs / half_wave), momentum)
    total = config.train.epochs * steps_per_epoch
    return _onecycle(config, step, total, momentum)


def _cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine wave from `start` at 0 to `end` at 1; past 1 it climbs back."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _onecycle(config: Config, step: int, total: int, momentum: float) -> Rates:
    """One rise and one fall (Smith and Topin), with torch's choice of turning points."""
    optim, schedule = config.optim, config.schedule
    top = schedule.pct_start * total - 1
    first, last = optim.lr / schedule.div_factor, total - 1
    low = first / schedule.final_div_factor
    if step <= top or last <= top:
        progress = step / top if top > 0 else 1.0
        lr = _cosine(first, optim.lr, progress)
        cycled = _cosine(schedule.max_momentum, schedule.base_momentum, progress)
    else:
        progress = (step - top) / (last - top)
        lr = _cosine(optim.lr, low, progress)
        cycled = _cosine(schedule.base_momentum, schedule.max_momentum, progress)
    return Rates(lr, cycled if schedule.cycle_momentum else momentum)
