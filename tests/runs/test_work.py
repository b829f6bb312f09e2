"""The work of a run beside a sum over its images, and how many steps its epochs have."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from engine.config.schema import Augment, Config, Model, Optim, Train
from engine.model import budget, resolve
from engine.optim.stages import epochs_of, stage, stages, steps_of
from engine.runs.work import work_of

IMAGES, CLASSES, SIDE = 103, 10, 32


def _config(epochs: float, **train: Any) -> Config:
    model = Model(blocks=(1, 1), widths=(4,))
    return Config(model=model, train=Train(epochs=epochs, batch_size=16, **train))


CONFIGS = {
    "whole": _config(3),
    "part": _config(1.3),
    "less than one": _config(0.5),
    "less than a step": _config(0.001),
    "short batch left out": _config(2.6, drop_last=True),
    "sizes": replace(_config(2.5), augment=Augment(sizes=(16, 24), sizes_until=(0.22, 0.52))),
    "frozen": _config(2.5, freeze_layers=1, freeze_from=0.8),
    "stem's bias": replace(
        _config(2.5),
        model=Model(blocks=(1, 1), widths=(4,), stem="whiten", stem_kernel=2),
        optim=Optim(stem_bias_epochs=1.3),
        augment=Augment(sizes=(16,), sizes_until=(0.52,)),
    ),
    "sizes, frozen": replace(
        _config(3, freeze_layers=1, freeze_from=0.4),
        augment=Augment(sizes=(16, 24), sizes_until=(0.3, 0.6)),
    ),
}


def _steps_per_epoch(config: Config) -> int:
    size = config.train.batch_size
    return IMAGES // size if config.train.drop_last else -(-IMAGES // size)


def _batches(config: Config) -> list[int]:
    """The number of images of each step of the run, epoch by epoch."""
    size, per_epoch = config.train.batch_size, _steps_per_epoch(config)
    epoch = [min(size, IMAGES - step * size) for step in range(per_epoch)]
    return [epoch[step % per_epoch] for step in range(steps_of(config, per_epoch))]


@pytest.mark.parametrize("name", CONFIGS)
def test_work_is_the_sum_over_all_images_of_all_steps(name: str) -> None:
    config = CONFIGS[name]
    variant, per_epoch = resolve(config.model), _steps_per_epoch(config)
    work = work_of(config, IMAGES, classes=CLASSES, side=SIDE)
    total = 0
    assert work.until(0) == 0
    for step, images in enumerate(_batches(config)):
        now = stage(config, step, per_epoch)
        frozen = {"frozen": now.frozen, "frozen_stem": now.frozen_stem}
        flops = budget.flops(variant, CLASSES, side=now.side or SIDE, **frozen)
        total += images * flops.training
        assert work.until(step + 1) == total
    assert work.total == total
    assert work.until(10**6) == total


@pytest.mark.parametrize("name", CONFIGS)
def test_stages_are_those_of_each_step_in_order(name: str) -> None:
    config = CONFIGS[name]
    per_epoch = _steps_per_epoch(config)
    parts = stages(config, per_epoch)
    each = [stage(config, step, per_epoch) for step in range(steps_of(config, per_epoch))]
    assert [part for part, length in parts for _ in range(length)] == each
    kinds = [part for part, _ in parts]
    assert all(one != other for one, other in itertools.pairwise(kinds))


def test_a_fraction_of_an_epoch_is_rounded_to_whole_steps() -> None:
    lengths = {0.001: 1, 0.5: 5, 1.0: 10, 1.04: 10, 1.06: 11, 1.3: 13, 2: 20}
    assert {each: steps_of(_config(each), 10) for each in lengths} == lengths
    begun = {0.001: 1, 1.0: 1, 1.04: 1, 1.06: 2, 2: 2}
    assert {each: epochs_of(_config(each), 10) for each in begun} == begun


def test_whole_epochs_stay_whole_numbers() -> None:
    assert repr(Train(epochs=200.0).epochs) == repr(Config().train.epochs) == "200"
    assert repr(Train(epochs=8.5).epochs) == "8.5"
    assert Train(epochs=200.0) == Train(epochs=200)
