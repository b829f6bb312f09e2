"""Learning rate and momentum as pure functions of the step, so that resuming needs no state.

Each equals torch's own scheduler at every update, also where that is surprising: a cosine rises
again after its minimum, and a linear OneCycle goes below zero one update after its end. Only
linear, trapezoid and the warm-up are of our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from engine.config.schema import Config, Schedule
from engine.optim.stages import stem_bias_steps, steps_of


class Rates(NamedTuple):
    """Learning rate and momentum of one step."""

    lr: float
    momentum: float  # of SGD or Muon, or beta1 of Adam
    stem_bias: float = 0.0  # learning rate of a stem's bias that has its own curve


def rates(config: Config, step: int, steps_per_epoch: int) -> Rates:
    """Learning rate and momentum of the step `step`, counted from the first of the run."""
    optim, schedule, curve = config.optim, config.schedule, _CURVES[config.schedule.name]
    momentum = optim.betas[0] if optim.name in ("adam", "adamw") else optim.momentum
    if moves_every_step(schedule):
        lr, cycled = curve(config, step, steps_per_epoch)
    else:
        lr, cycled = curve(config, step // steps_per_epoch, 1)
    bias = _stem_bias(config, step, steps_per_epoch)
    return Rates(lr, momentum if cycled is None else cycled, bias)


def moves_every_step(schedule: Schedule) -> bool:
    """Whether the rate moves with each step, not with each epoch."""
    by_default = schedule.name in ("onecycle", "linear", "trapezoid") or schedule.warmup > 0
    return schedule.per == "step" or (schedule.per == "auto" and by_default)


def moves_momentum(schedule: Schedule) -> bool:
    """Whether momentum, or Adam's beta1, is moved as well."""
    return schedule.name in ("onecycle", "cyclic") and schedule.cycle_momentum


# A curve gives learning rate and momentum after `n` updates of the scheduler; None leaves the
# momentum as configured. `unit` is the number of updates per epoch.
Point = tuple[float, float | None]
Curve = Callable[[Config, int, int], Point]


def _warmed(height: Callable[[Config, float, float, int], float]) -> Curve:
    """A linear warm-up, then `height` of the updates since and of those that remain in all."""

    def curve(config: Config, n: int, unit: int) -> Point:
        schedule, peak = config.schedule, config.optim.lr
        warm = schedule.warmup * unit
        if n < warm:
            return _linear(schedule.warmup_start * peak, peak, n / warm), None
        return height(config, n - warm, _updates(config, unit) - warm, unit), None

    return curve


def _constant(config: Config, n: float, length: float, unit: int) -> float:
    return config.optim.lr


def _cosine(config: Config, n: float, length: float, unit: int) -> float:
    return _half_cosine(config.optim.lr, config.schedule.minimum, n / length)


def _linear_fall(config: Config, n: float, length: float, unit: int) -> float:
    """To the minimum, which the update after the last would have; there it stays."""
    return _linear(config.optim.lr, config.schedule.minimum, min(n / length, 1.0))


def _trapezoid(config: Config, n: float, length: float, unit: int) -> float:
    """Constant, then a linear fall to the minimum at the end of the run."""
    fall = config.schedule.decay * unit or _updates(config, unit) / 5
    share = (n - length + fall) / fall
    return _linear(config.optim.lr, config.schedule.minimum, min(max(share, 0.0), 1.0))


def _stem_bias(config: Config, step: int, steps_per_epoch: int) -> float:
    """The rate of a whitening stem's bias, which falls to 0 whatever the schedule is."""
    optim, epochs = config.optim, config.optim.stem_bias_epochs
    if epochs is None:
        return 0.0
    lr = optim.lr if optim.rest_lr is None else optim.rest_lr
    return lr * max(1 - step / stem_bias_steps(epochs, steps_per_epoch), 0.0)


def _restarts(config: Config, n: int, unit: int) -> Point:
    """Half a cosine wave, repeated (SGDR: Loshchilov and Hutter, 2017)."""
    length, factor = config.schedule.period * unit, config.schedule.period_factor
    if factor == 1:
        n %= length
    while n >= length:
        n, length = n - length, length * factor
    return _half_cosine(config.optim.lr, config.schedule.minimum, n / length), None


def _onecycle(config: Config, n: int, unit: int) -> Point:
    """One rise and one fall (Smith and Topin), with torch's choice of turning points."""
    schedule, peak = config.schedule, config.optim.lr
    anneal = _half_cosine if schedule.anneal == "cosine" else _linear
    low, high = schedule.momenta
    total = _updates(config, unit)
    top, last = schedule.pct_start * total - 1, total - 1
    first = peak / schedule.div_factor
    if n <= top or last <= top:
        progress = n / top if top > 0 else 1.0
        lr, cycled = anneal(first, peak, progress), anneal(high, low, progress)
    else:
        progress = (n - top) / (last - top)
        lr = anneal(peak, first / schedule.final_div_factor, progress)
        cycled = anneal(low, high, progress)
    return lr, cycled if schedule.cycle_momentum else None


def _cyclic(config: Config, n: int, unit: int) -> Point:
    """From `minimum` to the learning rate and back, linearly and repeatedly (Smith, 2017)."""
    schedule = config.schedule
    low, high = schedule.momenta
    up, down = schedule.rise * unit, (schedule.fall or schedule.rise) * unit
    cycles, at = divmod(n, up + down)
    height = at / up if at <= up else (up + down - at) / down
    if schedule.cycle == "triangular2":
        height *= 0.5**cycles
    elif schedule.cycle == "exp_range":
        height *= schedule.gamma**n
    lr = _linear(schedule.minimum, config.optim.lr, height)
    return lr, _linear(high, low, height) if schedule.cycle_momentum else None


def _step(config: Config, n: int, unit: int) -> Point:
    falls = n // (config.schedule.step_size * unit)
    return config.optim.lr * config.schedule.gamma**falls, None


def _multistep(config: Config, n: int, unit: int) -> Point:
    falls = sum(n >= milestone * unit for milestone in config.schedule.milestones)
    return config.optim.lr * config.schedule.gamma**falls, None


def _exponential(config: Config, n: int, unit: int) -> Point:
    return config.optim.lr * config.schedule.gamma**n, None


def _multiplicative(config: Config, n: int, unit: int) -> Point:
    return config.optim.lr * config.schedule.gamma ** (n * (n + 1) // 2), None


_CURVES: dict[str, Curve] = {
    "constant": _warmed(_constant),
    "cosine": _warmed(_cosine),
    "linear": _warmed(_linear_fall),
    "trapezoid": _warmed(_trapezoid),
    "restarts": _restarts,
    "onecycle": _onecycle,
    "cyclic": _cyclic,
    "step": _step,
    "multistep": _multistep,
    "exponential": _exponential,
    "multiplicative": _multiplicative,
}


def _updates(config: Config, unit: int) -> float:
    """The updates in `t_max` or the whole run, whose last epoch may be a part."""
    if config.schedule.t_max:
        return config.schedule.t_max * unit
    if moves_every_step(config.schedule):
        return steps_of(config, unit)
    return math.ceil(config.train.epochs) * unit


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine wave from `start` at 0 to `end` at 1; after 1 it returns."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _linear(start: float, end: float, progress: float) -> float:
    """A straight line from `start` at 0 to `end` at 1, and on."""
    return start + (end - start) * progress
