"""Lookahead's falling alpha and the moving average equal slow writings, in a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.optim.ema import MovingAverage
from engine.optim.lookahead import Lookahead
from engine.optim.schedules import Rates
from engine.step.device import Machine
from engine.step.training import TrainingStep
from tests.support import steps

STEPS = 121  # the last is a synchronisation for one start of Lookahead alone
MACHINE = Machine(torch.device("cpu"), "fp32", False)
RATES = Rates(0.05, 0.9)
TENSORS = ("1.weight", "1.bias", "2.weight", "2.bias", "2.running_mean", "2.running_var")
UPDATED, SKIPPED = torch.tensor(False), torch.tensor(True)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)).double()


def _batches() -> Iterator[Batch]:
    random = torch.Generator().manual_seed(4)
    for _ in range(STEPS):
        images = torch.randn(8, 3, 2, 2, generator=random, dtype=torch.float64)
        yield Batch(images, torch.randint(0, 4, (8,), generator=random))


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: network.state_dict()[name].clone() for name in TENSORS}


After = Callable[[int], None]  # called with the number of steps made


def _eager(step: TrainingStep, after: After) -> None:
    steps.eager(step, _batches(), RATES, after=lambda number: after(number + 1))


def _recorded(step: TrainingStep, after: After) -> None:
    steps.recorded(step, _batches(), RATES, after=lambda number: after(number + 1))


def _plain(after: Callable[[nn.Module, int], None], optim: Optim) -> nn.Module:
    """A loop in torch; `after` may change the network after each step, from the first as 1."""
    network = _network()
    optimizer = torch.optim.SGD(network.parameters(), RATES.lr, 0.9, weight_decay=5e-4)
    for number, (images, labels) in enumerate(_batches()):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            after(network, number + 1)
    return network


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("power", "buffers", "start", "way"),
    [
        (3.0, True, "k", _eager),
        (3.0, True, "k", _recorded),
        (0.5, True, "first", _eager),
        pytest.param(0.5, True, "first", _recorded, marks=SLOW),
        (3.0, False, "first", _eager),
        pytest.param(3.0, False, "first", _recorded, marks=SLOW),
        (0.0, True, "k", _eager),
        pytest.param(0.0, False, "k", _recorded, marks=SLOW),
    ],
)
def test_lookahead_with_a_falling_alpha_over_statistics_equals_a_slow_reference(
    way: Callable[[TrainingStep, After], None], power: float, buffers: bool, start: str
) -> None:
    optim = Optim(
        lookahead_k=5,
        lookahead_alpha=0.2,
        lookahead_start=start,
        lookahead_power=power,
        lookahead_buffers=buffers,
        lookahead_end="slow",
    )
    names = TENSORS if buffers else TENSORS[:4]
    slow = _state(_network())

    def after(network: nn.Module, made: int) -> None:
        fast = network.state_dict()
        done = made / STEPS
        alpha = 1 - (1 - 0.2) * done**power if power else 0.2
        for name in names:
            if start == "first" and made == 1:
                slow[name] = fast[name].clone()
            if made % 5 == (0 if start == "k" else 1):
                slow[name] = slow[name] + alpha * (fast[name] - slow[name])
                fast[name].copy_(slow[name])
            if made == STEPS:
                fast[name].copy_(slow[name])

    expected = _state(_plain(after, optim))
    ours = _network()
    step = TrainingStep(ours, optim, MACHINE, steps=STEPS)
    way(step, lambda made: None)
    before = _state(ours)
    step.finish()
    for name, value in _state(ours).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)
    ended_in_between = start == "k"
    assert torch.equal(before["1.weight"], _state(ours)["1.weight"]) != ended_in_between
    moved = ended_in_between and buffers
    assert torch.equal(before["2.running_mean"], _state(ours)["2.running_mean"]) != moved


def test_lookahead_ends_with_the_fast_weights_by_default() -> None:
    ours = _network()
    step = TrainingStep(ours, Optim(lookahead_k=7), MACHINE, steps=STEPS)
    _eager(step, lambda made: None)
    before = _state(ours)
    step.finish()
    assert all(torch.equal(before[name], value) for name, value in _state(ours).items())


@pytest.mark.parametrize(
    ("every", "start", "way"),
    [
        (1, 0.0, _eager),
        (5, 0.0, _eager),
        (3, 0.8, _eager),
        (3, 0.8, _recorded),
        pytest.param(1, 0.5, _recorded, marks=SLOW),
    ],
)
def test_the_moving_average_equals_a_slow_reference(
    way: Callable[[TrainingStep, After], None], every: int, start: float
) -> None:
    optim = Optim(ema_decay=0.9, ema_every=every, ema_start=start)
    first = round(start * STEPS)
    average = _state(_network())
    expected: list[dict[str, Tensor]] = []

    def plain(network: nn.Module, made: int) -> None:
        for name, value in _state(network).items():
            if made <= first:
                average[name] = value
            elif (made - first) % every == 0:
                average[name] = 0.9 * average[name] + 0.1 * value
        expected.append(dict(average))

    trained = _plain(plain, optim)
    ours = _network()
    step = TrainingStep(ours, optim, MACHINE, steps=STEPS)

    def after(made: int) -> None:
        if made % 7 and made != STEPS:  # evaluated now and then
            return
        before = _state(ours)
        with step.averaged():
            for name, value in _state(ours).items():
                torch.testing.assert_close(value, expected[made - 1][name], rtol=1e-9, atol=1e-12)
        assert all(torch.equal(before[name], value) for name, value in _state(ours).items())

    way(step, after)
    for name, value in _state(ours).items():  # training did not see the average
        torch.testing.assert_close(value, _state(trained)[name], rtol=1e-9, atol=1e-12)
    kept = {name for name in step.tensors() if name.startswith("ema.")}
    assert kept == {*(f"ema.weights.{name}" for name in TENSORS), "ema.updates"}


def test_without_an_average_the_network_is_evaluated_as_it_is() -> None:
    ours = _network()
    step = TrainingStep(ours, Optim(), MACHINE)
    before = _state(ours)
    with step.averaged():
        assert all(torch.equal(before[name], value) for name, value in _state(ours).items())
    assert not any(name.startswith("ema.") for name in step.tensors())


@pytest.mark.parametrize(
    "make",
    [
        lambda network: MovingAverage(
            network, Optim(ema_decay=0.9, ema_every=3, ema_start=0.1), 40
        ),
        lambda network: Lookahead(
            network, Optim(lookahead_k=3, lookahead_power=3, lookahead_buffers=True), 40
        ),
    ],
    ids=["ema", "lookahead"],
)
@pytest.mark.parametrize("may_read", [False, True])
def test_an_average_counts_no_skipped_step_and_keeps_its_memory(
    make: Callable[[nn.Module], MovingAverage | Lookahead], may_read: bool
) -> None:
    one, two = _network(), _network()
    first, second = make(one), make(two)
    places = {name: tensor.data_ptr() for name, tensor in second.tensors().items()}
    for number in range(40):
        with torch.no_grad():
            for each in (*one.parameters(), *two.parameters()):
                each += number
        first(UPDATED)
        for _ in range(number % 3):
            before = {name: value.clone() for name, value in second.tensors().items()}
            second(SKIPPED, may_read=may_read)
            assert all(torch.equal(before[name], v) for name, v in second.tensors().items())
        second(UPDATED, may_read=may_read)
        assert all(torch.equal(_state(one)[name], v) for name, v in _state(two).items())
        saved = {name: value.clone() for name, value in second.tensors().items()}
        second = make(two) if number == 20 else second
        second.restore(saved)
        if number < 20:
            assert {name: t.data_ptr() for name, t in second.tensors().items()} == places
    assert all(torch.equal(first.tensors()[name], v) for name, v in second.tensors().items())


def test_a_parameter_that_is_not_trained_is_not_averaged() -> None:
    network = _network()
    network[1].weight.requires_grad_(False)
    optim = replace(Optim(), lookahead_k=2, ema_decay=0.9)
    assert "weights.1.weight" not in MovingAverage(network, optim).tensors()
    assert len(Lookahead(network, optim).tensors()) == 4  # of three parameters, and the count
