"""Rehearsals: every length that is counted in epochs, scaled by one factor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.config.checks import USED_BY
from engine.config.schema import Config

LENGTHS = ("t_max", "rise", "fall", "warmup", "decay")  # of a schedule, in epochs, any number
WHOLE_LENGTHS = {"period", "step_size"}  # whole epochs, at least one


def scaled(config: Config, factor: float) -> Config:
    """The same training in about `factor` of its epochs, rounded to whole ones, at least one.

    The schedule keeps its shape over the run: its lengths are scaled as the epochs were after
    rounding; those that it does not use keep their defaults, or the configuration would be
    refused. Factors that act once per change (`schedule.gamma`) are not touched.
    """
    if factor == 1:
        return config
    epochs = max(1, round(config.train.epochs * factor))
    ratio = epochs / config.train.epochs
    if ratio == 1:
        return config
    schedule = config.schedule
    used = {name for name, schedules in USED_BY.items() if schedule.name in schedules}
    changes: dict[str, Any] = {
        name: getattr(schedule, name) * ratio
        for name in LENGTHS
        if name in used or name not in USED_BY
    }
    changes |= {name: _whole(getattr(schedule, name), ratio) for name in WHOLE_LENGTHS & used}
    milestones: list[int] = []
    for epoch in schedule.milestones:  # no two become equal
        milestones.append(max(_whole(epoch, ratio), milestones[-1] + 1 if milestones else 1))
    stem = config.optim.stem_bias_epochs
    every = _whole(config.train.evaluate_every, ratio)
    return replace(
        config,
        train=replace(config.train, epochs=epochs, evaluate_every=every),
        optim=replace(config.optim, stem_bias_epochs=None if stem is None else stem * ratio),
        schedule=replace(schedule, milestones=tuple(milestones), **changes),
    )


def _whole(epochs: int, ratio: float) -> int:
    return max(1, round(epochs * ratio))
