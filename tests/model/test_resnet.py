"""Every network of the table trains; every member of the family builds and runs."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.model import VARIANTS, ResNet, Variant, budget, fitting
from engine.model.blocks import Convolution, SqueezeExcite
from engine.model.variants import Layer
from tests.support.paths import ROOT

IMAGES = 64
# torch 2.11's own compiler still imports what it deprecates
inductor = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
SMALL = {  # one small net of each kind of block
    "plain": Variant((2, 1), (8,)),
    "kernels": Variant((1, 2), (8,), (4, 5), (1, 2), pool=3),
    "stem se": Variant((1, 1), (8,), se="stem", se_reduction=4, stem_kernel=2),
    "block se": Variant((2, 1), (8,), se="block", se_reduction=4, stem_stride=2),
    "maxpool": Variant((1, 2, 1), (8, 12, 10), skip="maxpool", skip_kernels=(3,)),
    "preactivation": Variant((2, 2), (8,), preactivation=True),
    "preactivation all": Variant(
        (1, 1), (8,), preactivation=True, se="block", se_reduction=2, skip="maxpool"
    ),
    "dropout": Variant((1, 1), (8,), dropout=0.3, dropout_place="block"),
}


class Trace(NamedTuple):
    losses: list[float]
    lifeless: list[str]  # parameters without a finite gradient that is not zero


def side_of(variant: Variant) -> int:
    """The smallest side that the net allows: a sixteenth of the reports' time for most."""
    return next(side for side in (8, 16, 24, 32) if not list(fitting.build_errors(variant, side)))


@functools.cache
def trained(name: str) -> Trace:
    """A few steps on 64 random images with random labels."""
    variant = VARIANTS[name]
    torch.manual_seed(0)
    side = side_of(variant)
    network = ResNet(variant, side=side).to(memory_format=torch.channels_last)
    images, labels = torch.randn(IMAGES, 3, side, side), torch.randint(10, (IMAGES,))
    images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses, lifeless = [], []
    for step in range(6):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        if step == 0:
            for key, parameter in network.named_parameters():
                gradient = parameter.grad
                if gradient is None or not 0 < gradient.abs().sum().item() < float("inf"):
                    lifeless.append(key)
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.8 * losses[0]:
            break
    return Trace(losses, lifeless)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_loss_is_finite(name: str) -> None:
    assert all(0 < loss < 20 for loss in trained(name).losses)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    assert trained(name).lifeless == []


@pytest.mark.parametrize("name", VARIANTS)
def test_the_loss_of_64_images_falls(name: str) -> None:
    losses = trained(name).losses
    assert losses[-1] < 0.9 * losses[0]


def perturbed(variant: Variant, side: int = 32) -> ResNet:
    """A network in evaluation whose normalisations are not the identity."""
    torch.manual_seed(1)
    network = ResNet(variant, side=side).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return network


@pytest.mark.parametrize("name", VARIANTS)
def test_channels_last_equals_contiguous(name: str) -> None:
    network = perturbed(VARIANTS[name])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        contiguous = network(images)
        other = network.to(memory_format=torch.channels_last)
        strided = other(images.to(memory_format=torch.channels_last))
    assert contiguous.shape == (2, 10)
    torch.testing.assert_close(strided, contiguous, rtol=1e-4, atol=1e-4)


def compare_compiled(network: ResNet, images: torch.Tensor, backend: str = "inductor") -> None:
    """Loss, gradients and running statistics of an eager and a compiled training step."""
    labels = torch.arange(len(images)) % 10
    twin = copy.deepcopy(network)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    losses = []
    for module in (network, compiled):
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    for (key, eager), (_, other) in zip(
        network.named_parameters(), twin.named_parameters(), strict=True
    ):
        assert eager.grad is not None
        scale = eager.grad.abs().max().item()
        torch.testing.assert_close(
            other.grad, eager.grad, rtol=1e-3, atol=1e-3 * scale + 1e-6,
            msg=lambda text, key=key: f"{key}: {text}",
        )  # fmt: skip
    for eager_values, values in zip(network.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(values, eager_values, rtol=1e-4, atol=1e-5)


@pytest.fixture
def fresh_compiler() -> object:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind != "dropout"])
def test_eager_equals_traced_for_every_kind_of_block(kind: str) -> None:
    torch.manual_seed(2)
    compare_compiled(ResNet(SMALL[kind], side=16), torch.randn(8, 3, 16, 16), "aot_eager")


@inductor
@pytest.mark.timeout(180)  # a cold compiler on a busy machine
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("kind", ["stem se", "preactivation all"])
def test_eager_equals_compiled(kind: str) -> None:
    torch.manual_seed(2)
    compare_compiled(ResNet(SMALL[kind], side=16), torch.randn(8, 3, 16, 16))


@inductor
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("name", VARIANTS)
def test_eager_equals_compiled_for_every_variant(name: str) -> None:
    torch.manual_seed(2)
    variant = VARIANTS[name]
    side = side_of(variant)
    compare_compiled(ResNet(variant, side=side), torch.randn(8, 3, side, side))


@pytest.mark.parametrize("skip", ["conv", "maxpool"])
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("kernel", range(1, 12))
def test_kernels_of_1_to_11_keep_the_paths_of_a_block_together(
    kernel: int, preactivation: bool, skip: str
) -> None:
    for conv_kernel, skip_kernel in ((kernel, 1), (3, kernel), (kernel, kernel)):
        variant = Variant(
            (2, 1, 1), (4,), (conv_kernel,), (skip_kernel,), skip=skip, preactivation=preactivation
        )
        for side in (32, 23, 6):
            assert not list(fitting.build_errors(variant, side))
            logits = ResNet(variant, side=side)(torch.randn(2, 3, side, side))
            logits.sum().backward()
            assert logits.shape == (2, 10)


@pytest.mark.parametrize("kernel", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_a_convolution_divides_the_side_by_its_stride(kernel: int, stride: int) -> None:
    for side in range(3, 14):
        out = Convolution(1, 1, kernel, stride)(torch.randn(1, 1, side, side + 1))
        assert out.shape[2:] == (-(-side // stride), -(-(side + 1) // stride))


def test_the_2x2_skip_of_report_001_has_no_padding() -> None:
    convolution = Convolution(3, 5, 2, 2)
    images = torch.randn(2, 3, 16, 16)
    expected = F.conv2d(images, convolution.weight, stride=2)
    torch.testing.assert_close(convolution(images), expected)


def test_an_even_kernel_pads_the_right_and_bottom_once_more() -> None:
    convolution = Convolution(1, 1, 4)
    images = torch.randn(1, 1, 7, 7)
    expected = F.conv2d(F.pad(images, (1, 2, 1, 2)), convolution.weight)
    torch.testing.assert_close(convolution(images), expected)


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
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


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


def test_units_in_blocks_scale_the_residual_and_not_the_skip() -> None:
    variant = Variant((1,), (4,), se="block", se_reduction=2)
    network = perturbed(variant, side=8)
    block = network.layers[0][0]
    block.se.excite.bias.data.fill_(-1e4)  # closed gates: nothing of the residual passes
    x = torch.rand(2, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x)


def test_squeeze_and_excitation_has_biases_and_the_catalogues_580_parameters() -> None:
    unit = SqueezeExcite(64, 16)
    assert sum(parameter.numel() for parameter in unit.parameters()) == 580


@pytest.mark.parametrize("place", ["classifier", "block"])
def test_dropout_acts_in_training_alone_and_where_it_is_placed(place: str) -> None:
    variant = Variant((2, 1), (8,), dropout=0.5, dropout_place=place)
    network = ResNet(variant, side=16)
    assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == (
        1 if place == "classifier" else sum(variant.blocks)
    )
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    plain = ResNet(dataclasses.replace(variant, dropout=0.0), side=16)
    assert plain.state_dict().keys() == network.state_dict().keys()


def test_a_pool_smaller_than_the_map_widens_the_classifier() -> None:
    variant = Variant((1, 1), (4,), pool=3)
    network = ResNet(variant, classes=7)
    assert network.classifier.in_features == 8 * 5 * 5
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert budget.parameters(variant, classes=7).classifier == 7 * (200 + 1)


def test_only_a_change_of_size_needs_a_skip_convolution() -> None:
    network = ResNet(VARIANTS["resnet2222_w64_192_192_256"])
    skips = [[block.skip is not None for block in layer] for layer in network.layers]
    assert skips == [[False, False], [True, False], [True, False], [True, False]]
    assert not Layer(1, 8, 8, 3, 1, 1).projects


NARROW = """
import torch
from engine.model import ResNet, Variant
torch.set_num_threads(2)
network = ResNet(Variant((1, 1, 1), (4,))).to(memory_format=torch.channels_last)
for step in range(100):
    images = torch.randn(16, 3, 32, 32).to(memory_format=torch.channels_last)
    network(images).sum().backward()
print("trained")
"""


@pytest.mark.timeout(120)
def test_narrow_nets_survive_onednns_strided_1x1_convolution() -> None:
    """Without the fence this process hangs, or dies of a signal, within some 50 steps."""
    waits = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # its two threads, on a loaded machine
    command = [sys.executable, "-c", NARROW]
    done = subprocess.run(command, env=waits, capture_output=True, text=True, timeout=110, cwd=ROOT)
    assert done.stdout == "trained\n", done.returncode


@pytest.mark.parametrize("channels", [1, 4, 15, 16])
def test_picking_pixels_first_equals_a_strided_convolution(channels: int) -> None:
    convolution = Convolution(channels, 8, 1, stride=2)
    for side in (7, 8):
        images = torch.randn(2, channels, side, side)
        expected = torch.nn.functional.conv2d(images, convolution.weight, stride=2)
        torch.testing.assert_close(convolution(images), expected)
