"""Each schedule equals torch's own at every step, updated per epoch or per step."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as torchs
from torch.optim.lr_scheduler import LRScheduler

from engine.config.schema import Config, Optim, Schedule, Train
from engine.optim.schedules import moves_every_step, moves_momentum, rates
from tests.support.paths import ROOT

STEPS = 3  # per epoch
EPOCHS = 120
PEAK = 0.1
ANNEALS: dict[str, Any] = {"cosine": "cos", "linear": "linear"}
Make = Callable[[Optimizer, int], LRScheduler]  # the second: updates per epoch

# The twelve of report 000, as its code had them, and what they are here; u: updates per epoch.
TWELVE: dict[str, tuple[Schedule, Make]] = {
    "CosineAnnealingLR": (
        Schedule("cosine", t_max=50),  # 200 there; here it climbs back within the test
        lambda o, u: torchs.CosineAnnealingLR(o, 50 * u),
    ),
    "LambdaLR": (
        Schedule("exponential", gamma=0.65),
        lambda o, u: torchs.LambdaLR(o, lambda epoch: 0.65**epoch),
    ),
    "MultiplicativeLR": (
        Schedule("multiplicative", gamma=0.65),
        lambda o, u: torchs.MultiplicativeLR(o, lambda epoch: 0.65**epoch),
    ),
    "StepLR": (Schedule("step", step_size=2), lambda o, u: torchs.StepLR(o, 2 * u, 0.1)),
    "MultiStepLR": (
        Schedule("multistep", milestones=(6, 8, 9)),
        lambda o, u: torchs.MultiStepLR(o, [6 * u, 8 * u, 9 * u], 0.1),
    ),
    "ExponentialLR": (Schedule("exponential"), lambda o, u: torchs.ExponentialLR(o, 0.1)),
    "CyclicLR": (
        Schedule("cyclic", minimum=0.001),
        lambda o, u: torchs.CyclicLR(o, 0.001, PEAK, 5 * u),
    ),
    "CyclicLR2": (
        Schedule("cyclic", minimum=0.001, cycle="triangular2"),
        lambda o, u: torchs.CyclicLR(o, 0.001, PEAK, 5 * u, mode="triangular2"),
    ),
    "CyclicLR3": (
        Schedule("cyclic", minimum=0.001, cycle="exp_range", gamma=0.85),
        lambda o, u: torchs.CyclicLR(o, 0.001, PEAK, 5 * u, mode="exp_range", gamma=0.85),
    ),
    "OneCycleLR": (
        Schedule("onecycle", t_max=EPOCHS),  # 100 there, see below
        lambda o, u: torchs.OneCycleLR(o, PEAK, steps_per_epoch=u, epochs=EPOCHS),
    ),
    "OneCycleLR2": (
        Schedule("onecycle", anneal="linear"),
        lambda o, u: torchs.OneCycleLR(o, PEAK, EPOCHS * u, anneal_strategy="linear"),
    ),
    "CosineAnnealingWarmRestarts": (
        Schedule("restarts", minimum=0.001),
        lambda o, u: torchs.CosineAnnealingWarmRestarts(o, 10 * u, 1, 0.001),
    ),
}
MOMENTUM = {  # as torch's OneCycleLR and CyclicLR, and our schedules, call it
    "cycle_momentum": st.booleans(),
    "base_momentum": st.floats(0.01, 0.5),
    "max_momentum": st.floats(0.5, 0.99),
}


def _equal(
    schedule: Schedule,
    make: Make,
    *,
    name: str = "sgd",
    lr: float = PEAK,
    epochs: int = EPOCHS,
    steps: int = STEPS,
) -> None:
    """Compare every step of a run with torch's scheduler, updated once per epoch or step."""
    every_step = moves_every_step(schedule)
    config = replace(Config(), train=Train(epochs=epochs), optim=Optim(name, lr), schedule=schedule)
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = Adam(parameters, lr) if name == "adam" else SGD(parameters, lr, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about its use
        scheduler = make(optimizer, steps if every_step else 1)
        for step in range(epochs * steps):
            group = optimizer.param_groups[0]
            ours = rates(config, step, steps)
            # torch multiplies update by update, so its error grows
            assert ours.lr == pytest.approx(float(group["lr"]), rel=1e-7, abs=1e-9)
            momentum = group["betas"][0] if name == "adam" else group["momentum"]
            assert ours.momentum == pytest.approx(float(momentum), rel=1e-9)
            optimizer.step()
            if step + 1 < epochs * steps and (every_step or (step + 1) % steps == 0):
                scheduler.step()


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("row", TWELVE)
def test_the_twelve_of_report_000_equal_torch(row: str, per: str, name: str) -> None:
    schedule, make = TWELVE[row]
    _equal(replace(schedule, per=per), make, name=name)


def test_the_table_of_the_twelve_in_the_docs_is_tested() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| `(name: .*)` \|$", text, re.MULTILINE)
    lengths = {"t_max": 0.0, "per": "auto"}  # stretched in the tests
    found = []
    for row in rows:
        given = yaml.safe_load(f"{{{row}}}")
        given |= {"milestones": tuple(given["milestones"])} if "milestones" in given else {}
        found.append(replace(Schedule(**given), **lengths))
    assert found == [replace(schedule, **lengths) for schedule, _ in TWELVE.values()]


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize(("t_max", "minimum"), [(0, 0.0), (200, 0.0), (30, 1e-4), (11, 0.01)])
def test_a_cosine_has_its_own_length_and_rises_again(per: str, t_max: int, minimum: float) -> None:
    schedule = Schedule(per=per, t_max=t_max, minimum=minimum)
    _equal(
        schedule, lambda o, u: torchs.CosineAnnealingLR(o, (t_max or 60) * u, minimum), epochs=60
    )


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["sgd", "adam"]),
    per=st.sampled_from(["auto", "epoch", "step"]),
    anneal=st.sampled_from(["cosine", "linear"]),
    length=st.integers(2, 40),
    alike=st.fixed_dictionaries(
        MOMENTUM
        | {
            "pct_start": st.floats(0.02, 0.95),
            "div_factor": st.floats(1, 100),
            "final_div_factor": st.floats(1, 1e5),
        }
    ),
)
def test_any_onecycle_equals_torch(
    name: str, per: str, anneal: str, length: int, alike: dict[str, Any]
) -> None:
    def make(optimizer: Optimizer, unit: int) -> LRScheduler:
        return torchs.OneCycleLR(
            optimizer, 0.01, length * unit, anneal_strategy=ANNEALS[anneal], **alike
        )

    schedule = Schedule("onecycle", per, t_max=length, anneal=anneal, **alike)
    _equal(schedule, make, name=name, lr=0.01, epochs=length)


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["sgd", "adam"]),
    per=st.sampled_from(["epoch", "step"]),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    rise=st.integers(1, 9),
    fall=st.integers(0, 9),
    low=st.floats(0, PEAK),
    alike=st.fixed_dictionaries(MOMENTUM | {"gamma": st.floats(0.8, 1.0)}),
)
def test_any_cyclic_equals_torch(
    name: str, per: str, mode: Any, rise: int, fall: int, low: float, alike: dict[str, Any]
) -> None:
    def make(optimizer: Optimizer, unit: int) -> LRScheduler:
        up, down = rise * unit, (fall or rise) * unit
        return torchs.CyclicLR(optimizer, low, PEAK, up, down, mode, **alike)

    schedule = Schedule("cyclic", per, minimum=low, rise=rise, fall=fall, cycle=mode, **alike)
    _equal(schedule, make, name=name, epochs=50)


@settings(deadline=None, max_examples=20)
@given(
    per=st.sampled_from(["epoch", "step"]),
    period=st.integers(1, 12),
    factor=st.integers(1, 3),
    low=st.floats(0, PEAK),
)
def test_any_restarts_equal_torch(per: str, period: int, factor: int, low: float) -> None:
    schedule = Schedule("restarts", per, minimum=low, period=period, period_factor=factor)
    _equal(
        schedule,
        lambda o, u: torchs.CosineAnnealingWarmRestarts(o, period * u, factor, low),
        epochs=60,
    )


@settings(deadline=None, max_examples=20)
@given(
    per=st.sampled_from(["auto", "epoch", "step"]),
    size=st.integers(1, 9),
    milestones=st.sets(st.integers(1, 50), min_size=1).map(sorted).map(tuple),
    gamma=st.floats(0.05, 1.0),
)
def test_any_step_schedule_equals_torch(
    per: str, size: int, milestones: tuple[int, ...], gamma: float
) -> None:
    for schedule, make in (
        (Schedule("step", step_size=size), lambda o, u: torchs.StepLR(o, size * u, gamma)),
        (
            Schedule("multistep", milestones=milestones),
            lambda o, u: torchs.MultiStepLR(o, [each * u for each in milestones], gamma),
        ),
        (Schedule("exponential"), lambda o, u: torchs.ExponentialLR(o, gamma)),
    ):
        _equal(replace(schedule, per=per, gamma=gamma), make, epochs=50)


def test_onecycle_linear_trapezoid_and_warmups_are_per_step_and_others_per_epoch_by_default() -> (
    None
):
    assert moves_every_step(Schedule("onecycle"))
    assert not moves_every_step(Schedule("onecycle", "epoch"))
    for name in ("linear", "trapezoid"):
        assert moves_every_step(Schedule(name))
        assert not moves_every_step(Schedule(name, "epoch"))
    assert moves_every_step(Schedule("cosine", warmup=1))
    assert not moves_every_step(Schedule("cosine", "epoch", warmup=1))
    for name in ("constant", "cosine", "restarts", "cyclic", "step", "multistep", "exponential"):
        assert not moves_every_step(Schedule(name))
        assert moves_every_step(Schedule(name, "step"))


def test_epoch_101_of_a_onecycle_of_100_equals_torch_which_then_refuses() -> None:
    """As in report 000: the cosine turns back, the linear one goes below zero."""
    for anneal in ("cosine", "linear"):
        schedule = Schedule("onecycle", "epoch", t_max=100, anneal=anneal)

        def make(optimizer: Optimizer, _: int, anneal: str = anneal) -> LRScheduler:
            return torchs.OneCycleLR(optimizer, PEAK, 100, anneal_strategy=ANNEALS[anneal])

        _equal(schedule, make, epochs=101, steps=1)
        with pytest.raises(ValueError, match="Tried to step 101 times"):
            _equal(schedule, make, epochs=102, steps=1)
    config = replace(Config(), schedule=schedule)
    assert rates(config, 100, 1).lr == pytest.approx(-PEAK / 70, rel=1e-3)


@pytest.mark.parametrize("name", ["onecycle", "cyclic"])
def test_momentum_is_cycled_by_default_as_in_torch(name: str) -> None:
    assert moves_momentum(Schedule(name))
    assert not moves_momentum(Schedule(name, cycle_momentum=False))
    still = replace(Config(), schedule=Schedule(name, cycle_momentum=False))
    assert {rates(still, step, STEPS).momentum for step in range(50)} == {0.9}


def test_a_constant_schedule_never_changes() -> None:
    _equal(Schedule("constant"), lambda o, u: torchs.ConstantLR(o, 1.0, 1))
    assert not moves_momentum(Schedule("constant"))


def test_the_rates_of_very_long_runs_end_at_zero_without_an_error() -> None:
    for name in ("exponential", "multiplicative", "step", "multistep"):
        config = replace(Config(), schedule=Schedule(name, "step", step_size=1, milestones=(1,)))
        assert 0 <= rates(config, 10**8, 1).lr < 0.011
    falling = Schedule("cyclic", "step", cycle="triangular2", rise=1)
    assert rates(replace(Config(), schedule=falling), 10**8 + 1, 1).lr == 0.0


@pytest.mark.parametrize("name", ["cosine", "onecycle"])
@pytest.mark.parametrize("epochs", [0.4, 1.5, 2.5, 8.5])
def test_a_last_epoch_that_is_a_part_ends_the_schedule(name: str, epochs: float) -> None:
    schedule = Schedule(name, per="step", anneal="linear")
    config = Config(train=Train(epochs=epochs), optim=Optim(lr=PEAK), schedule=schedule)
    steps, per_epoch = round(epochs * 5), 5
    lrs = [rates(config, step, per_epoch).lr for step in range(steps)]
    whole = replace(config, train=Train(epochs=steps))
    assert lrs == [rates(whole, step, 1).lr for step in range(steps)]
    per = [rates(replace(config, schedule=replace(schedule, per="epoch")), n, per_epoch).lr
           for n in range(steps)]  # fmt: skip
    assert min(*lrs, *per) >= 0
    assert per == [per[n // per_epoch * per_epoch] for n in range(steps)]


def _lrs(schedule: Schedule, epochs: float, steps: int = 10, **optim: Any) -> list[float]:
    config = Config(train=Train(epochs=epochs), optim=Optim(lr=PEAK, **optim), schedule=schedule)
    return [rates(config, step, steps).lr for step in range(round(epochs * steps))]


def test_linear_falls_to_the_step_after_the_last_as_airbenchs() -> None:
    assert _lrs(Schedule("linear"), 8) == pytest.approx([PEAK * (1 - k / 80) for k in range(80)])
    assert _lrs(Schedule("linear"), 8.46)[-1] == pytest.approx(PEAK / 85)
    floored = _lrs(Schedule("linear", minimum=0.02, t_max=5), 8)
    assert floored == pytest.approx([max(PEAK - 0.08 * k / 50, 0.02) for k in range(80)])
    per_epoch = _lrs(Schedule("linear", "epoch"), 8)
    assert per_epoch == pytest.approx([PEAK * (1 - k // 10 / 8) for k in range(80)])


def test_a_trapezoid_is_a_warmup_a_constant_and_a_linear_fall() -> None:
    schedule = Schedule("trapezoid", warmup=1, warmup_start=0.2, decay=2.5, minimum=0.01)
    expected = []
    for step in range(80):
        if step < 10:
            expected.append(PEAK * (0.2 + 0.8 * step / 10))
        elif step < 55:
            expected.append(PEAK)
        else:
            expected.append(PEAK - (PEAK - 0.01) * (step - 55) / 25)
    assert _lrs(schedule, 8) == pytest.approx(expected)
    fifth = _lrs(Schedule("trapezoid"), 5)
    assert fifth == pytest.approx([min(PEAK, PEAK * (50 - k) / 10) for k in range(50)])


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("t_max", [0.0, 12.0])
def test_a_schedule_after_a_warmup_is_that_of_the_steps_that_remain(
    name: str, t_max: float
) -> None:
    t_max = 0.0 if name == "constant" else t_max
    warmed = _lrs(Schedule(name, t_max=t_max, warmup=2), 8)
    assert warmed[:20] == pytest.approx([PEAK * k / 20 for k in range(20)])
    shorter = _lrs(Schedule(name, "step", t_max=t_max and t_max - 2), 6)
    assert warmed[20:] == pytest.approx(shorter)


def test_a_stems_bias_has_a_rate_of_its_own_that_falls_to_zero() -> None:
    for rest, highest in ((None, PEAK), (0.5, 0.5)):
        optim = Optim(lr=PEAK, rest_lr=rest, stem_bias_epochs=2.96)
        config = Config(train=Train(epochs=8), optim=optim)
        found = [rates(config, step, 10).stem_bias for step in range(80)]
        assert found == pytest.approx([highest * max(1 - step / 30, 0) for step in range(80)])
