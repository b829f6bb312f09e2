"""Each schedule equals torch's own, step by step."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from engine.config.schema import Config, Optim, Schedule, Train
from engine.optim.schedules import rates

STEPS = 7  # an epoch


def _config(epochs: int, optim: Optim, schedule: Schedule) -> Config:
    return replace(Config(), train=Train(epochs=epochs), optim=optim, schedule=schedule)


def _torch_rates(
    optimizer: torch.optim.Optimizer, scheduler: LRScheduler, steps: int, every: int
) -> list[tuple[float, float]]:
    out = []
    for step in range(steps):
        group = optimizer.param_groups[0]
        out.append((group["lr"], group["betas"][0] if "betas" in group else group["momentum"]))
        optimizer.step()
        if (step + 1) % every == 0 and step + 1 < steps:
            scheduler.step()
    return out


def _parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(1))]


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize(("t_max", "minimum"), [(0, 0.0), (200, 0.0), (30, 1e-4), (11, 0.01)])
def test_cosine_equals_torch(per: str, t_max: int, minimum: float) -> None:
    epochs, every = 30, STEPS if per == "epoch" else 1
    config = _config(epochs, Optim(), Schedule(per=per, t_max=t_max, minimum=minimum))
    optimizer = SGD(_parameters(), 0.1, 0.9)
    half_wave = (t_max or epochs) * (1 if per == "epoch" else STEPS)
    scheduler = CosineAnnealingLR(optimizer, half_wave, minimum)
    expected = _torch_rates(optimizer, scheduler, epochs * STEPS, every)
    for step, (lr, momentum) in enumerate(expected):
        # torch multiplies step by step, so its own error grows with them
        assert rates(config, step, STEPS).lr == pytest.approx(lr, rel=1e-7, abs=1e-9)
        assert rates(config, step, STEPS).momentum == momentum


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("cycle", [True, False])
@pytest.mark.parametrize("epochs", [1, 3, 100])
@pytest.mark.parametrize("pct_start", [0.3, 0.05, 0.9])
def test_onecycle_equals_torch(name: str, cycle: bool, epochs: int, pct_start: float) -> None:
    schedule = Schedule(
        name="onecycle", pct_start=pct_start, div_factor=20, final_div_factor=1e3,
        cycle_momentum=cycle,
    )  # fmt: skip
    config = _config(epochs, Optim(name=name, lr=0.01), schedule)
    parameters = _parameters()
    optimizer = Adam(parameters, 0.01) if name == "adam" else SGD(parameters, 0.01, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = OneCycleLR(
            optimizer, 0.01, epochs * STEPS, pct_start=pct_start, div_factor=20,
            final_div_factor=1e3, cycle_momentum=cycle,
        )  # fmt: skip
    for step, (lr, momentum) in enumerate(_torch_rates(optimizer, scheduler, epochs * STEPS, 1)):
        ours = rates(config, step, STEPS)
        assert ours.lr == pytest.approx(lr, rel=1e-9, abs=1e-12)
        assert ours.momentum == pytest.approx(momentum, rel=1e-9)


def test_constant_stays() -> None:
    config = _config(3, Optim(lr=0.05), Schedule(name="constant"))
    assert {rates(config, step, STEPS) for step in range(3 * STEPS)} == {(0.05, 0.9)}
