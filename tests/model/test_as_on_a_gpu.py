"""What changes in a network for a GPU changes neither its function nor its state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engine.model import VARIANTS, ResNet, Variant
from engine.model.norm import count_together, counters, share
from engine.model.variants import HOUSE
from tests.support.ranks import ranks_of

STEMS = {
    "3x3": Variant((1,), (8,)),
    "5x5, stride 2": Variant((1,), (8,), stem_kernel=5, stem_stride=2),
    "2x2": Variant((1,), (8,), stem_kernel=2),
    "1x1": Variant((1,), (8,), stem_kernel=1),
    "preactivation": Variant((1,), (8,), preactivation=True),
    "whitening": Variant((1,), (8,), **HOUSE),
}


def _trained(network: ResNet, images: torch.Tensor) -> list[torch.Tensor]:
    """The logits of a step, and its gradients."""
    logits = network(images)
    (logits * torch.arange(10.0)).square().sum().backward()
    return [logits.detach(), *(p.grad for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("kind", STEMS)
def test_a_padded_stem_is_the_same_function_of_the_same_weights(kind: str, channels: int) -> None:
    torch.manual_seed(0)
    plain = ResNet(STEMS[kind], side=16).double()
    padded = copy.deepcopy(plain)
    padded.pad_stem(channels)
    images = torch.randn(4, 3, 16, 16).double().to(memory_format=torch.channels_last)
    for one, other in zip(_trained(plain, images), _trained(padded, images), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    weights, kept = plain.state_dict(), padded.state_dict()
    assert {name: each.shape for name, each in kept.items()} == {
        name: each.shape for name, each in weights.items()
    }
    assert str(padded) != str(plain)  # which names the compiled code
    padded.pad_stem(0)
    assert str(padded) == str(plain)


def test_the_first_convolution_alone_has_more_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = nn.Conv2d._conv_forward

    def convolve(module: nn.Conv2d, input: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(input.shape[1])
        return real(module, input, *rest)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", convolve)
    network = ResNet(VARIANTS["resnet111_w16"])
    network.pad_stem(8)
    network(torch.randn(2, 3, 32, 32))
    assert seen[0] == 8
    assert set(seen[1:]) == {16, 32, 64}


def test_batches_are_counted_by_one_call_and_all_else_has_the_same_bits() -> None:
    torch.manual_seed(0)
    plain = ResNet(Variant((1, 2), (4,)), side=16)
    counting = copy.deepcopy(plain)
    count_together(counting)
    norms = [each for each in plain.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(counters(counting)) == len(norms)
    assert not counters(plain)
    for number in range(3):
        images = torch.randn(4, 3, 16, 16)
        for one, other in zip(_trained(plain, images), _trained(counting, images), strict=True):
            assert torch.equal(one, other)
        assert all(int(each) == number for each in counters(counting))
        torch._foreach_add_(counters(counting), 1)
        states = plain.state_dict(), counting.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(each, states[1][name]) for name, each in states[0].items())
    counting.load_state_dict(ResNet(Variant((1, 2), (4,)), side=16).state_dict())
    assert all(int(each) == 0 for each in counters(counting))
    plain.load_state_dict(counting.state_dict())
    with torch.no_grad():
        assert torch.equal(counting.eval()(images), plain.eval()(images))
    assert all(int(each) == 0 for each in counters(counting))


def test_norms_of_several_ranks_are_counted_together_as_well() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3))
    (rank,) = ranks_of(1)
    share(network, rank)
    network(torch.randn(4, 3, 2, 2))
    assert not counters(network)
    count_together(network)
    network(torch.randn(4, 3, 2, 2))
    (count,) = counters(network)
    assert int(count) == 1
    assert "uncounted" in str(network)
