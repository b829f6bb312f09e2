"""`SharedNorm` over ranks is `BatchNorm2d` over the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from engine.model.norm import SharedNorm, share
from tests.support.ranks import InThread, in_threads, ranks_of

Part = tuple[Tensor, list[Tensor]]  # the output, and the gradients


def _network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, 1e-3, 0.3), nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 3),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.to(dtype)


def _images(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(count)
    return torch.randn(count, 3, 7, 7).to(dtype) * 3 + 40  # a mean far from 0


def _part(network: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor) -> Part:
    network.zero_grad()
    out = forward(images)
    (out * torch.arange(3.0, dtype=out.dtype)).square().sum().backward()
    return out.detach(), [p.grad for p in network.parameters()]  # type: ignore[misc]


@pytest.mark.parametrize("count", [2, 3])
def test_outputs_gradients_and_statistics_are_those_of_the_whole_batch(count: int) -> None:
    whole, ranks = _network(), ranks_of(count)
    networks = [_network() for _ in ranks]
    for network, rank in zip(networks, ranks, strict=True):
        share(network, rank)
    for number in (9, 7, 4):  # parts of different sizes
        images = _images(number)
        out, gradients = _part(whole, whole, images)
        shared = in_threads(
            [partial(_part, n, n, images[k::count]) for k, n in enumerate(networks)],
            ranks,
        )
        for rank, (part, _) in enumerate(shared):
            torch.testing.assert_close(part, out[rank::count], rtol=0, atol=1e-12)
        for own, *theirs in zip(gradients, *(each for _, each in shared), strict=True):
            torch.testing.assert_close(sum(theirs), own, rtol=1e-11, atol=1e-11)
    for network in networks:
        state = network.state_dict()
        assert state.keys() == whole.state_dict().keys()
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)
        torch.testing.assert_close(network.eval()(images), whole.eval()(images))
        whole.train()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_normalised_in_float32_as_by_torch(dtype: torch.dtype) -> None:
    (alone,) = ranks_of(1)
    norms = [nn.BatchNorm2d(4), SharedNorm(nn.BatchNorm2d(4), alone)]
    outs = []
    for norm in norms:
        torch.manual_seed(1)
        images = (torch.randn(6, 4, 3, 3) * 2 + 1).to(dtype).requires_grad_()
        out = norm(images)
        assert out.dtype == dtype
        out.float().square().sum().backward()
        outs.append((out.float(), images.grad.float(), norm.running_var))  # type: ignore[union-attr]
    atol = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    for ours, theirs in zip(*outs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=atol)


def test_a_norm_without_a_scale_stays_without_one_and_in_its_place() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    network[0].weight.requires_grad_(False)
    (rank,) = ranks_of(1)
    share(network, rank)
    assert all(isinstance(m, SharedNorm) for m in (network[0], network[1][0]))
    assert not network[0].weight.requires_grad
    network(torch.randn(3, 4, 2, 2)).square().sum().backward()
    assert network[0].weight.grad is None and network[0].bias.grad is not None
    assert "ranks=1" in str(network)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_compiled_it_has_the_same_gradients(dtype: torch.dtype) -> None:
    class One(InThread):
        def gather(self, values: Tensor) -> Tensor:
            return values[None].clone()

        def sum_(self, values: Tensor) -> None:
            values.mul_(1)

    (rank,) = ranks_of(1)
    rank.__class__ = One
    eager, network = _network(dtype), _network(dtype)
    share(eager, rank), share(network, rank)
    forward = torch.compile(network, fullgraph=True, backend="aot_eager", dynamic=False)
    images = _images(8, dtype)
    for _ in range(2):
        out, gradients = _part(eager, eager, images)
        compiled_out, compiled = _part(network, forward, images)
        torch.testing.assert_close(compiled_out, out)
        torch.testing.assert_close(compiled, gradients)
    for ours, theirs in zip(network.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
