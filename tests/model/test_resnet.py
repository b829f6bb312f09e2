"""Every network of the table trains, and computes what the catalogue of the reports writes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.config.schema import Model
from engine.model import VARIANTS, ResNet, Variant, initialise
from tests.support.networks import perturbed, smallest_side

IMAGES = 64


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_has_a_gradient_and_the_loss_of_64_random_images_falls(name: str) -> None:
    variant = VARIANTS[name]
    torch.manual_seed(0)
    side = smallest_side(variant)
    network = ResNet(variant, side=side).to(memory_format=torch.channels_last)
    images, labels = torch.randn(IMAGES, 3, side, side), torch.randint(10, (IMAGES,))
    images = images.to(memory_format=torch.channels_last)
    # A head of scaled logits needs the classifier and the rates that go with it.
    if scaled := variant.logit_scale != 1:
        initialise(network, Model(classifier_std=1.0), torch.Generator())
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0 if scaled else 0.05, momentum=0.9)
    losses: list[float] = []
    while len(losses) < 6 and (not losses or losses[-1] >= 0.8 * losses[0]):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        for key, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            assert parameter.grad is not None, key
            assert 0 < parameter.grad.abs().sum().item() < float("inf"), key
        optimizer.step()
        losses.append(loss.item())
    assert all(0 < value < 20 for value in losses)
    assert losses[-1] < 0.9 * losses[0]


def reference(network: ResNet, variant: Variant, images: torch.Tensor) -> torch.Tensor:
    """The catalogue's post-activation network, written out from the weights by their names."""
    state = network.state_dict()

    def norm(x: torch.Tensor, key: str) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{key}.{name}"] for name in names))

    def conv(x: torch.Tensor, key: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{key}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    x = F.relu(norm(conv(images, "stem.0", variant.stem_stride), "stem.1"))
    if variant.se == "stem":
        gate = F.adaptive_avg_pool2d(x, 1)
        gate = F.relu(F.conv2d(gate, state["se.squeeze.weight"], state["se.squeeze.bias"]))
        gate = F.conv2d(gate, state["se.excite.weight"], state["se.excite.bias"])
        x = x * torch.sigmoid(gate)
    for layer, blocks in enumerate(variant.blocks):
        for block in range(blocks):
            key = f"layers.{layer}.{block}"
            stride = 2 if layer > 0 and block == 0 else 1
            out = F.relu(norm(conv(x, f"{key}.conv1", stride), f"{key}.norm1"))
            out = norm(conv(out, f"{key}.conv2"), f"{key}.norm2")
            if stride == 2 and variant.skip == "maxpool":
                x = norm(conv(F.max_pool2d(x, 2, 2), f"{key}.skip.1"), f"{key}.skip.2")
            elif stride == 2:
                x = norm(conv(x, f"{key}.skip.0", 2), f"{key}.skip.1")
            x = F.relu(out + x)
    pool = x.shape[2] if variant.pool == "global" else int(variant.pool)
    flat = F.avg_pool2d(x, pool).flatten(1)
    return F.linear(flat, state["classifier.weight"], state["classifier.bias"])


@pytest.mark.parametrize(
    "name",
    ["se_resnet443", "resnet1111_pool3", "resnet22222_maxpool_skip", "resnet211_k5_skip3",
     "resnet2222_w64_192_192_256"],
)  # fmt: skip
def test_the_network_computes_what_the_catalogue_writes(name: str) -> None:
    variant = VARIANTS[name]
    network = perturbed(variant)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = reference(network, variant, images)
        for form in (torch.contiguous_format, torch.channels_last):
            logits = network.to(memory_format=form)(images.to(memory_format=form))
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_preactivation_normalises_before_each_convolution_and_once_at_the_end() -> None:
    network = perturbed(Variant((1, 1), (4,), preactivation=True), side=8)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        x = network.stem[0](images)
        for layer, stride in zip(network.layers, (1, 2), strict=True):
            block = layer[0]
            active = F.relu(block.norm1(x))
            beside = x if stride == 1 else F.conv2d(active, block.skip[0].weight, stride=2)
            x = block.conv2(F.relu(block.norm2(block.conv1(active)))) + beside
        expected = network.classifier(F.relu(network.norm(x)).mean((2, 3)))
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", ["classifier", "block"])
def test_dropout_acts_in_training_alone_and_where_it_is_placed(place: str) -> None:
    variant = Variant((2, 1), (8,), dropout=0.5, dropout_place=place)
    network = ResNet(variant, side=16)
    assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == (
        1 if place == "classifier" else sum(variant.blocks)
    )
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    plain = ResNet(dataclasses.replace(variant, dropout=0.0), side=16)
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(images), plain.eval()(images))
