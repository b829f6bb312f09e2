"""The parts of networks for short runs, against slow writings of them."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config.schema import Model
from engine.model import ResNet, Variant, initialise
from engine.model.blocks import Convolution
from engine.model.variants import HOUSE

NET = Variant((1, 2), (8, 12), **HOUSE | {"logit_scale": 0.5})
SIDE = 12


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def network(variant: Variant = NET, seed: int = 1) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(variant, side=SIDE)


def slow(network: ResNet, x: Tensor) -> Tensor:
    """The training forward pass of `NET`, written out; running statistics move as in torch."""
    parts = dict(network.named_parameters()) | dict(network.named_buffers())

    def norm(x: Tensor, key: str) -> Tensor:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        count = x.numel() // x.shape[1]
        for name, value in (("mean", mean), ("var", variance * count / (count - 1))):
            running = parts[f"{key}.running_{name}"]
            running.copy_(0.6 * running + 0.4 * value.detach())
        deviation = (variance + 1e-12).sqrt()
        centred = x - mean[:, None, None]
        return centred / deviation[:, None, None] + parts[f"{key}.bias"][:, None, None]

    def gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))

    def conv(x: Tensor, key: str) -> Tensor:
        return F.conv2d(x, parts[f"{key}.weight"], padding=1)

    x = gelu(F.conv2d(x, parts["stem.0.weight"], parts["stem.0.bias"]))
    for layer, blocks in enumerate(NET.blocks):
        key = f"layers.{layer}.0"
        x = gelu(norm(F.max_pool2d(conv(x, f"{key}.conv"), 2), f"{key}.norm"))
        for block in range(1, blocks + 1):
            key = f"layers.{layer}.{block}"
            inner = gelu(norm(conv(x, f"{key}.conv1"), f"{key}.norm1"))
            x = gelu(x + norm(conv(inner, f"{key}.conv2"), f"{key}.norm2"))
    return x.flatten(2).max(2).values @ parts["classifier.weight"].T * 0.5


def test_the_network_computes_what_a_slow_writing_does() -> None:
    ours = network().double()
    other = copy.deepcopy(ours)
    logits, expected = ours(images().double()), slow(other, images().double())
    torch.testing.assert_close(logits, expected)
    for out in (logits, expected):
        out.square().sum().backward()
    for (key, one), two in zip(ours.named_parameters(), other.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, two.grad, msg=key)
    for (key, one), two in zip(ours.named_buffers(), other.buffers(), strict=True):
        if "running" in key:
            torch.testing.assert_close(one, two, msg=key)


def test_filters_of_the_stem_and_scales_of_norms_are_never_trained() -> None:
    ours = network()
    untrained = {name for name, each in ours.named_parameters() if not each.requires_grad}
    norms = {
        f"{name}.weight"
        for name, module in ours.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert untrained == norms | {"stem.0.weight"}
    assert all(torch.equal(p, torch.ones_like(p)) for p in map(ours.get_parameter, norms))
    ours(images()).sum().backward()
    assert all(ours.get_parameter(name).grad is None for name in untrained)
    assert ours.get_parameter("stem.0.bias").grad is not None


FROZEN = [
    NET,
    Variant((1, 1), (8,), se="stem", se_reduction=2),
    Variant((1, 1), (8,), preactivation=True),
]


@pytest.mark.parametrize("variant", FROZEN)
@pytest.mark.parametrize("frozen", [1, 2])
def test_frozen_layers_have_no_gradients_and_change_no_others(
    variant: Variant, frozen: int
) -> None:
    whole, partly = network(variant), network(variant)
    partly.frozen_layers = frozen
    for each in (whole, partly):
        each(images()).square().sum().backward()
    below = ("stem.", "se.", *(f"layers.{layer}." for layer in range(frozen)))
    for name, parameter in partly.named_parameters():
        if name.startswith(below):
            assert parameter.grad is None
        else:
            other = whole.get_parameter(name).grad
            assert (parameter.grad is None) == (other is None)
            assert other is None or torch.equal(parameter.grad, other)
    # The statistics of frozen batch norms are collected all the same.
    for one, two in zip(whole.buffers(), partly.buffers(), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(whole.eval()(images()), partly.eval()(images()))


def test_a_frozen_stem_leaves_its_unit_to_be_trained() -> None:
    ours = network(dataclasses.replace(NET, se="stem", se_reduction=2))
    ours.frozen_stem = True
    ours(images()).sum().backward()
    assert ours.get_parameter("stem.0.bias").grad is None
    assert ours.get_parameter("se.squeeze.weight").grad is not None
    assert ours.get_parameter("layers.0.0.conv.weight").grad is not None


@pytest.mark.parametrize("variant", [NET, dataclasses.replace(NET, transition="stride")])
def test_autocast_with_channels_last_stays_close_and_keeps_maps_small(variant: Variant) -> None:
    ours = network(variant)
    plain = ours(images())
    kinds = []
    for part in (ours.stem, *ours.layers):
        part.register_forward_hook(lambda _module, _inputs, out: kinds.append(out.dtype))
    ours = ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        logits = ours(images().to(memory_format=torch.channels_last))
    logits.float().sum().backward()
    assert set(kinds) == {torch.bfloat16}  # no bias, norm or activation widens a map
    torch.testing.assert_close(logits.float(), plain, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kernels", [(3,), (2,), (4, 5)])
def test_dirac_lets_the_first_filters_pass_their_inputs_through(kernels: tuple[int, ...]) -> None:
    variant = Variant((1, 1), (8, 6), kernels, stem_kernel=3, se="block", se_reduction=2)
    ours, drawn = network(variant), network(variant)
    initialise(ours, Model(init="dirac"), torch.Generator())
    for (name, module), other in zip(ours.named_modules(), drawn.modules(), strict=True):
        if isinstance(module, Convolution):
            before, width = module.in_channels, module.out_channels
            passed = min(before, width)
            x = torch.randn(1, before, 8, 8)
            stride = module.stride[0]
            outputs = module(x)[:, :passed]
            assert torch.equal(outputs, x[:, :passed, ::stride, ::stride]), name
            rest = slice(passed, None)
            assert torch.equal(module.weight[rest], other.weight[rest])  # type: ignore[index]
            if module.kernel_size[0] % 2:
                reference = torch.empty_like(module.weight[:passed])
                assert torch.equal(nn.init.dirac_(reference), module.weight[:passed])
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            assert torch.equal(module.weight, other.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("init", ["dirac", "orthogonal"])
def test_an_initialisation_leaves_the_whitening_filters_and_scales_the_classifier(
    init: str,
) -> None:
    ours, drawn = network(), network()
    initialise(ours, Model(init=init, classifier_std=1.5), torch.Generator().manual_seed(2))
    for name in ("stem.0.weight", "stem.0.bias"):
        assert torch.equal(ours.get_parameter(name), drawn.get_parameter(name))
    assert ours.classifier.weight.std().item() == pytest.approx(1.5)
    assert not torch.equal(
        ours.get_parameter("layers.0.0.conv.weight"), drawn.get_parameter("layers.0.0.conv.weight")
    )


def test_a_whitening_stem_is_for_colour_images_alone() -> None:
    with pytest.raises(ValueError, match="for 3 channels, not 1"):
        ResNet(NET, channels=1)
