"""Updates equal torch's own optimizers and slow writings; their state survives a save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.model import ResNet, Variant
from engine.optim.muon import orthogonal
from engine.optim.optimizer import DeviceRates, Optimizer
from engine.optim.schedules import Rates

STEPS = 200
MADE, SKIPPED = torch.tensor(False), torch.tensor(True)
ALL = ["sgd", "adam", "adamw", "muon"]
OWN_RATES = {
    "norm_lr": 0.5,
    "norm_weight_decay": 0.01,
    "head_lr": 0.02,
    "head_weight_decay": 0.0,
    "rest_lr": 0.3,
    "rest_weight_decay": 0.02,
}


class Network(nn.Module):
    """Something of each kind, two convolutions of one shape, and one that is never trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 2))
        self.stem[0].weight.requires_grad_(False)
        self.wide, self.same = nn.Conv2d(6, 4, 3), nn.Conv2d(6, 4, 3, bias=False)
        self.tall = nn.Conv2d(4, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 3)


def _network() -> Network:
    return Network().double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _layer(optim: Optim, cycles: bool = False) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(1)
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return layer, Optimizer(layer, optim, cycles=cycles)


def _gradients(network: nn.Module, steps: int = STEPS) -> Iterator[dict[str, Tensor]]:
    random = torch.Generator().manual_seed(5)
    for _ in range(steps):
        yield {
            name: torch.randn(p.shape, dtype=p.dtype, generator=random)
            for name, p in network.named_parameters()
            if p.requires_grad
        }


def _assign(network: nn.Module, gradients: dict[str, Tensor]) -> None:
    for name, parameter in network.named_parameters():
        gradient = gradients.get(name)
        kept = torch.empty_like(parameter)  # autograd's have the strides of the parameter
        parameter.grad = None if gradient is None else kept.copy_(gradient).detach()


# Slow writings, one parameter at a time.


class SlowMuon:
    """One bank of filters at a time."""

    def __init__(self, bank: Tensor, optim: Optim) -> None:
        self.optim, self.velocity = optim, torch.zeros_like(bank)

    def __call__(self, bank: Tensor, gradient: Tensor, lr: float) -> Tensor:
        optim = self.optim
        self.velocity = optim.momentum * self.velocity + gradient
        ahead = gradient + optim.momentum * self.velocity if optim.nesterov else self.velocity
        if optim.muon_normalise:
            bank = bank * len(bank) ** 0.5 / bank.norm()
        else:
            bank = bank - lr * optim.weight_decay * bank
        return bank - lr * _slow_orthogonal(ahead.flatten(1), optim.muon_steps).view_as(bank)


def _slow_orthogonal(matrix: Tensor, steps: int) -> Tensor:
    """The polynomial of the singular values, by their decomposition."""
    left, values, right = torch.linalg.svd(matrix / (matrix.norm() + 1e-7), full_matrices=False)
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ values.diag() @ right


def _torchs(optim: Optim, parameters: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if optim.name == "sgd":
        return torch.optim.SGD(
            parameters, optim.lr, optim.momentum, nesterov=optim.nesterov, foreach=False
        )
    kind = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    betas = (optim.betas[0], optim.betas[1])
    return kind(parameters, optim.lr, betas, optim.eps, foreach=False)


def _kind(name: str, parameter: Tensor) -> str:
    if name.startswith("norm"):
        return "norm"
    if name.startswith("classifier"):
        return "head"
    return "filters" if parameter.dim() == 4 else "rest"


def _expected(optim: Optim, start: nn.Module, curve: list[float], bias: list[float]) -> nn.Module:
    """The network after an update per entry of `curve`, the share of each parameter's rate."""
    filters, others = {}, []
    rates: list[float] = []
    for name, parameter in start.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = _kind(name, parameter)
        lr = getattr(optim, f"{kind}_lr", None) or optim.lr
        decay = getattr(optim, f"{kind}_weight_decay", None)
        decay = optim.weight_decay if decay is None else decay
        if kind == "filters" and optim.name == "muon":
            filters[name] = SlowMuon(parameter.detach(), optim)
            continue
        decay = 0.0 if parameter.dim() == 1 and not optim.decay_biases else decay
        others.append({"params": [parameter], "weight_decay": decay, "name": name})
        rates.append(lr)
    sgd = replace(optim, name="sgd", momentum=optim.rest_momentum, nesterov=True)
    rest = _torchs(sgd if optim.name == "muon" else optim, others)
    for share, own, gradients in zip(curve, bias, _gradients(start), strict=True):
        _assign(start, gradients)
        for group, lr in zip(rest.param_groups, rates, strict=True):
            is_stem = group["name"] == "stem.0.bias" and optim.stem_bias_epochs is not None
            group["lr"] = own if is_stem else lr * share
        rest.step()
        with torch.no_grad():
            for name, slow in filters.items():
                parameter = start.get_parameter(name)
                parameter.copy_(slow(parameter, gradients[name], optim.lr * share))
    return start


@pytest.mark.parametrize("more", [{}, OWN_RATES, {"decay_biases": False}, {"stem_bias_epochs": 1}])
@pytest.mark.parametrize(
    "optim",
    [
        Optim(lr=0.1, weight_decay=1e-3),
        Optim(lr=0.1, nesterov=True, weight_decay=1e-3),
        Optim(lr=0.1, momentum=0.0, weight_decay=1e-3),
        Optim("adam", 0.01, weight_decay=1e-2),
        Optim("adamw", 0.01, weight_decay=1e-1, betas=(0.85, 0.99)),
        Optim("muon", 0.1, 0.6, nesterov=True, weight_decay=1e-2),
        Optim("muon", 0.1, 0.9, weight_decay=1e-2, muon_normalise=False, muon_steps=5),
    ],
    ids=lambda optim: f"{optim.name} {optim.momentum} {'nesterov' if optim.nesterov else ''}",
)
def test_groups_of_a_network_equal_torchs_optimizers_and_a_slow_muon(
    optim: Optim, more: dict[str, Any]
) -> None:
    optim = replace(optim, **more)
    curve = [1 - step / STEPS for step in range(STEPS)]
    bias = [optim.lr * max(1 - step / 50, 0) for step in range(STEPS)]
    ours = _network()
    optimizer = Optimizer(ours, optim)
    momentum = optim.betas[0] if optim.name in ("adam", "adamw") else optim.momentum
    frozen = ours.stem[0].weight.clone()
    for share, own, gradients in zip(curve, bias, _gradients(ours), strict=True):
        _assign(ours, gradients)
        optimizer(Rates(optim.lr * share, momentum, own), MADE)
    expected = _expected(optim, _network(), curve, bias)
    for (name, mine), other in zip(ours.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9, msg=name)
    assert torch.equal(ours.stem[0].weight, frozen)


def test_all_parameters_of_the_default_settings_are_one_group_of_one_kernel() -> None:
    network = ResNet(Variant((1, 1), (4,), se="block", se_reduction=2), classes=4)
    assert len(Optimizer(network, Optim())._groups) == 1
    assert len(Optimizer(network, Optim(decay_biases=False))._groups) == 2
    assert len(Optimizer(network, Optim("muon"))._groups) == 2
    own = Optimizer(network, Optim("muon", **OWN_RATES))  # type: ignore[arg-type]
    assert [len(members) for members in own._groups.values()] == [10, 12, 4, 2]


@pytest.mark.parametrize("name", ALL)
def test_a_parameter_without_a_gradient_stays_as_it_is_with_its_state(name: str) -> None:
    network = _network()
    optimizer = Optimizer(network, Optim(name, 0.1, lookahead_k=0))
    for number, gradients in enumerate(_gradients(network, 6)):
        frozen = {n: g for n, g in gradients.items() if number < 3 or not n.startswith("same")}
        _assign(network, frozen)
        index = [n for n, _ in network.named_parameters()].index("same.weight")
        before = network.same.weight.clone()
        state = {k: v.clone() for k, v in optimizer.tensors().items() if k.startswith(f"{index}.")}
        assert state
        optimizer(Rates(0.1, 0.9), MADE)
        assert torch.equal(before, network.same.weight) == (number >= 3)
        after = optimizer.tensors()
        assert all(torch.equal(after[k], v) for k, v in state.items()) == (number >= 3)


@pytest.mark.parametrize("name", ALL)
def test_a_skipped_update_changes_nothing_whatever_the_gradients_are(name: str) -> None:
    network = _network()
    optimizer = Optimizer(network, Optim(name, 0.1, muon_normalise=False, **OWN_RATES))  # type: ignore[arg-type]
    normalising = Optimizer(network, Optim(name, 0.1))
    for gradients in _gradients(network, 3):
        _assign(network, gradients)
        optimizer(Rates(0.1, 0.9), MADE)
    before = [p.clone() for p in network.parameters()]
    state = {name: value.clone() for name, value in optimizer.tensors().items()}
    _assign(network, {n: g * float("nan") for n, g in next(_gradients(network, 1)).items()})
    for each in (optimizer, normalising):
        each(Rates(0.1, 0.9), SKIPPED)
        each(DeviceRates(torch.tensor(0.1), torch.tensor(0.9)), SKIPPED)
    for mine, other in zip(network.parameters(), before, strict=True):
        assert torch.equal(mine, other)
    assert all(torch.equal(state[k], v) for k, v in optimizer.tensors().items())


@pytest.mark.parametrize("shape", [(1, 5, 30), (3, 8, 8), (2, 30, 5), (4, 1, 9), (2, 6, 1)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_batch_of_matrices_is_made_orthogonal_as_each_alone(
    shape: tuple[int, int, int], steps: int
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    results = orthogonal(matrices, steps)
    for matrix, result in zip(matrices, results, strict=True):
        expected = _slow_orthogonal(matrix, steps)
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    half = orthogonal(matrices.float(), steps, torch.bfloat16)
    assert half.dtype == torch.float32
    assert float((half - results).norm() / results.norm()) < 0.1
    assert torch.equal(orthogonal(matrices.float(), steps, torch.bfloat16), half)
    assert not orthogonal(torch.zeros_like(matrices), steps).any()


@pytest.mark.parametrize("name", ALL)
def test_a_saved_state_continues_to_the_bit(name: str) -> None:
    def advance(layer: nn.Module, optimizer: Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        _assign(layer, {n: torch.randn(p.shape) for n, p in layer.named_parameters()})
        optimizer(Rates(0.1, 0.9), MADE)

    one, optimizer = _layer(Optim(name=name))
    for seed in range(3):
        advance(one, optimizer, seed)
    other, restored = _layer(Optim(name=name))
    other.load_state_dict(one.state_dict())
    restored.restore({k: v.clone().contiguous() for k, v in optimizer.tensors().items()})
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
        Optim(name="adamw", lr=0.01, weight_decay=0.1),
        Optim(name="muon", nesterov=True, weight_decay=0.1, muon_normalise=False),
        Optim(name="muon", rest_lr=0.2),
    ],
)
def test_an_update_with_rates_in_device_memory_equals_one_with_numbers(
    optim: Optim, cycles: bool
) -> None:
    (plain, eager), (ours, held) = (_layer(optim, cycles) for _ in range(2))
    steady = optim.betas[0] if optim.name in ("adam", "adamw") else optim.momentum
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
            eager(Rates(lr, momentum), MADE)
        rates = DeviceRates(torch.tensor(lr), torch.tensor(momentum))
        held(rates, torch.tensor(skip))
    for mine, other in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other, mine, rtol=2e-5, atol=1e-6)
    saved, expected = held.tensors(), eager.tensors()
    assert saved.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(saved[name], value, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_moving_momentum_equals_torchs(name: str) -> None:
    optim = Optim(name, 0.01, weight_decay=0.1)
    ours, plain = nn.Linear(4, 3).double(), nn.Linear(4, 3).double()
    plain.load_state_dict(ours.state_dict())
    optimizer = Optimizer(ours, optim, cycles=True)
    groups = [{"params": list(plain.parameters()), "weight_decay": optim.weight_decay}]
    torchs = _torchs(optim, groups)
    for number, gradients in enumerate(_gradients(ours)):
        momentum = 0.8 + 0.1 * abs(1 - number / 100)
        _assign(ours, gradients)
        _assign(plain, gradients)
        optimizer(Rates(0.01, momentum), MADE)
        torchs.param_groups[0].update(momentum=momentum, betas=(momentum, 0.999))
        torchs.step()
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_state_is_restored_into_the_memory_that_a_graph_uses(name: str) -> None:
    optimizer = Optimizer(nn.Conv2d(3, 2, 1), Optim(name=name))
    before = {k: v.data_ptr() for k, v in optimizer.tensors().items()}
    saved = {k: torch.full_like(v, 2.5) for k, v in optimizer.tensors().items()}
    optimizer.restore(saved)
    after = optimizer.tensors()
    assert {k: v.data_ptr() for k, v in after.items()} == before
    assert all(torch.equal(after[k], v) for k, v in saved.items())
