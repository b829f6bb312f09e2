"""Updates equal textbook formulas and torch's own optimizers; their state survives a save."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.optim import optimizers
from engine.optim.schedules import Rates
from engine.optim.update import DeviceRates, Update

STEPS = 200


def _textbook_sgd(w: Tensor, optim: Optim, gradients: list[Tensor], lrs: list[float]) -> Tensor:
    velocity = None
    for gradient, lr in zip(gradients, lrs, strict=True):
        g = gradient + optim.weight_decay * w
        velocity = g if velocity is None else optim.momentum * velocity + g
        w = w - lr * (g + optim.momentum * velocity if optim.nesterov else velocity)
    return w


def _textbook_adam(w: Tensor, optim: Optim, gradients: list[Tensor], lrs: list[float]) -> Tensor:
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    b1, b2 = optim.betas
    for t, (gradient, lr) in enumerate(zip(gradients, lrs, strict=True), start=1):
        g = gradient + optim.weight_decay * w
        mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g * g
        w = w - lr * (mean / (1 - b1**t)) / ((square / (1 - b2**t)).sqrt() + optim.eps)
    return w


@pytest.mark.parametrize(
    "optim",
    [
        Optim(),
        Optim(nesterov=True, weight_decay=0),
        Optim(momentum=0.0),
        Optim(name="adam", lr=0.01),
        Optim(name="adam", lr=0.1, betas=(0.85, 0.99), weight_decay=1e-4),
    ],
)
def test_updates_equal_the_textbook(optim: Optim) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 3, bias=False).double()
    start = layer.weight.detach().clone()
    gradients = [torch.randn(3, 5, dtype=torch.float64) for _ in range(STEPS)]
    lrs = [optim.lr * (1 - k / STEPS) for k in range(STEPS)]
    optimizer = optimizers.make(layer, optim)
    momentum = optim.betas[0] if optim.name == "adam" else optim.momentum
    for gradient, lr in zip(gradients, lrs, strict=True):
        layer.weight.grad = gradient.clone()
        optimizers.set_rates(optimizer, Rates(lr, momentum))
        optimizer.step()
    textbook = _textbook_adam if optim.name == "adam" else _textbook_sgd
    torch.testing.assert_close(layer.weight.detach(), textbook(start, optim, gradients, lrs))


def _fresh(optim: Optim, cycles: bool = False) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    return layer, optimizers.make(layer, optim, cycles=cycles)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_saved_state_continues_to_the_bit(name: str) -> None:
    def advance(layer: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for p in layer.parameters():
            p.grad = torch.randn(p.shape).contiguous(
                memory_format=torch.channels_last if p.dim() == 4 else torch.contiguous_format
            )
        optimizer.step()

    one, optimizer = _fresh(Optim(name=name))
    for seed in range(3):
        advance(one, optimizer, seed)
    other, restored = _fresh(Optim(name=name))
    other.load_state_dict(one.state_dict())
    saved = {k: v.clone().contiguous() for k, v in optimizers.state_tensors(optimizer).items()}
    optimizers.restore(restored, saved)
    for seed in range(3, 6):
        advance(one, optimizer, seed)
        advance(other, restored, seed)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("cycles", [False, True])
@pytest.mark.parametrize(
    "optim",
    [
        Optim(),
        Optim(nesterov=True),
        Optim(nesterov=True, weight_decay=0.0),
        Optim(momentum=0.0),
        Optim(name="adam", lr=0.01),
        Optim(name="adam", lr=0.01, betas=(0.0, 0.99)),
    ],
)
def test_an_update_with_rates_in_device_memory_equals_torchs(optim: Optim, cycles: bool) -> None:
    (plain, torchs), (ours, held) = (_fresh(optim, cycles) for _ in range(2))
    update = Update(held, optim, cycles=cycles)
    steady = optim.betas[0] if optim.name == "adam" else optim.momentum
    for number in range(50):
        momentum = 0.4 + 0.5 * abs(1 - number / 25) if cycles else steady  # down and up again
        lr = optim.lr * (1 - number / 50)
        skip = number % 10 == 3
        for mine, other in zip(plain.parameters(), ours.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
            if skip:
                other.grad.fill_(float("nan"))
        if not skip:
            optimizers.set_rates(torchs, Rates(lr, momentum))
            torchs.step()
        rates = DeviceRates(torch.tensor(lr), torch.tensor(momentum))
        update(rates, torch.tensor(skip))
    for mine, other in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other, mine, rtol=2e-5, atol=1e-6)
    saved, expected = optimizers.state_tensors(held), optimizers.state_tensors(torchs)
    assert saved.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(saved[name], value, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_state_is_restored_into_the_memory_that_a_graph_uses(name: str) -> None:
    layer = nn.Linear(3, 2)
    optimizer = optimizers.make(layer, Optim(name=name))
    before = {k: v.data_ptr() for k, v in optimizers.state_tensors(optimizer).items()}
    saved = {k: torch.full_like(v, 2.5) for k, v in optimizers.state_tensors(optimizer).items()}
    optimizers.restore(optimizer, saved)
    after = optimizers.state_tensors(optimizer)
    assert {k: v.data_ptr() for k, v in after.items()} == before
    assert all(torch.equal(after[k], v) for k, v in saved.items())
