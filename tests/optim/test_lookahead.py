"""Lookahead equals slow references over 300 steps, around SGD and Adam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.optim.lookahead import Lookahead
from engine.optim.optimizer import Optimizer
from engine.optim.schedules import Rates
from engine.step.device import Machine
from engine.step.training import TrainingStep

STEPS = 300
UPDATED = torch.tensor(False)
SKIPPED = torch.tensor(True)


def _layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


class Published:
    """Algorithm 1 of the paper."""

    def __init__(self, start: Tensor, k: int, alpha: float) -> None:
        self.slow, self.k, self.alpha, self.steps = start.clone(), k, alpha, 0

    def after(self, fast: Tensor) -> Tensor:
        self.steps += 1
        if self.steps % self.k:
            return fast
        self.slow = self.slow + self.alpha * (fast - self.slow)
        return self.slow.clone()


class OfTheReports:
    """As in the code behind reports 000 and 002: synchronised at steps 1, k + 1, ..."""

    def __init__(self, start: Tensor, k: int, alpha: float) -> None:
        self.slow: Tensor | None = None
        self.k, self.alpha, self.counter = k, alpha, 0

    def after(self, fast: Tensor) -> Tensor:
        if self.counter == 0:
            if self.slow is None:
                self.slow = fast.clone()
            self.slow = self.slow + self.alpha * (fast - self.slow)
            fast = self.slow.clone()
        self.counter = (self.counter + 1) % self.k
        return fast


@pytest.mark.parametrize("start", ["first", "k"])
@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (1, 0.5), (3, 0.8), (7, 1.0), (1000, 0.5)])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_lookahead_equals_a_slow_reference(name: str, k: int, alpha: float, start: str) -> None:
    optim = Optim(
        name, 0.05, weight_decay=1e-3, lookahead_k=k, lookahead_alpha=alpha, lookahead_start=start
    )
    ours, plain = _layer(), _layer()
    optimizer, alone = Optimizer(ours, optim), Optimizer(plain, optim)
    rates = Rates(optim.lr, optim.momentum)
    lookahead = Lookahead(ours, optim)
    kind = OfTheReports if start == "first" else Published
    slow = [kind(p.detach(), k, alpha) for p in plain.parameters()]
    for gradients in _gradients(ours):
        for mine, other, gradient in zip(
            ours.parameters(), plain.parameters(), gradients, strict=True
        ):
            mine.grad, other.grad = gradient.clone(), gradient.clone()
        optimizer(rates, UPDATED)
        lookahead(UPDATED)
        alone(rates, UPDATED)
        with torch.no_grad():
            for parameter, each in zip(plain.parameters(), slow, strict=True):
                parameter.copy_(each.after(parameter.detach()))
        for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def test_a_skipped_update_is_not_counted_and_changes_nothing() -> None:
    layer, other = _layer(), _layer()
    optim = Optim(lookahead_k=2)
    one, two = (Lookahead(each, optim) for each in (layer, other))
    for number in range(40):
        with torch.no_grad():
            for parameter in (*layer.parameters(), *other.parameters()):
                parameter += number
        one(UPDATED)
        for _ in range(number % 4):
            before = {name: value.clone() for name, value in two.tensors().items()}
            weights = other.weight.clone()
            two(SKIPPED)
            assert all(torch.equal(before[name], v) for name, v in two.tensors().items())
            assert torch.equal(weights, other.weight)
        two(UPDATED)
        assert torch.equal(layer.weight, other.weight)


def test_lookahead_is_restored_into_the_memory_that_a_graph_uses() -> None:
    layer = _layer()
    lookahead = Lookahead(layer, Optim(lookahead_k=4))
    places = {name: tensor.data_ptr() for name, tensor in lookahead.tensors().items()}
    saved = {name: torch.full_like(t, 7) for name, t in lookahead.tensors().items()}
    lookahead.restore(saved)
    after = lookahead.tensors()
    assert {name: tensor.data_ptr() for name, tensor in after.items()} == places
    assert all(torch.equal(after[name], value) for name, value in saved.items())


def test_lookahead_is_part_of_a_training_steps_state_only_where_it_is_on() -> None:
    machine = Machine(torch.device("cpu"), "fp32", False)
    optim = Optim(lookahead_k=2)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    step = TrainingStep(network, optim, machine)
    for number in range(5):
        batch = Batch(torch.randn(8, 3, 2, 2), torch.randint(0, 4, (8,)))
        step(batch, Rates(0.1, 0.9), number)
    kept = {name for name in step.tensors() if name.startswith("lookahead.")}
    assert kept == {"lookahead.slow.0", "lookahead.slow.1", "lookahead.updates"}
    assert int(step.tensors()["lookahead.updates"]) == 5
    off = TrainingStep(network, replace(optim, lookahead_k=0), machine)
    assert not any(name.startswith("lookahead.") for name in off.tensors())


def test_a_step_skipped_by_the_loss_scale_is_not_counted() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    step = TrainingStep(network, Optim(lookahead_k=2), Machine(torch.device("cpu"), "fp16", False))
    batch = Batch(torch.randn(8, 3, 2, 2), torch.randint(0, 4, (8,)))
    assert step._scaling is not None
    for number, scale in enumerate((1024.0, 1e38, 1024.0)):
        step._scaling.scale.fill_(scale)
        before = network[1].weight.clone()
        step(batch, Rates(0.1, 0.9), number)
        assert torch.equal(network[1].weight, before) == (scale > 1e30)
    assert int(step.tensors()["lookahead.updates"]) == 2


def _gradients(layer: nn.Module) -> Iterator[list[Tensor]]:
    random = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        yield [torch.randn(p.shape, dtype=p.dtype, generator=random) for p in layer.parameters()]
