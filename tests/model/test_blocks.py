"""Convolutions of every kernel, skip paths and squeeze-and-excitation, beside plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.model import ResNet, Variant, fitting
from engine.model.blocks import Convolution, SqueezeExcite, Transition
from tests.support import processes
from tests.support.networks import perturbed


@pytest.mark.parametrize("skip", ["conv", "maxpool"])
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("kernel", range(1, 12))
def test_the_paths_of_a_block_have_one_size_for_kernels_from_1_to_11(
    kernel: int, preactivation: bool, skip: str
) -> None:
    for conv_kernel, skip_kernel in ((kernel, 1), (3, kernel), (kernel, kernel)):
        variant = Variant(
            (2, 1, 1), (4,), (conv_kernel,), (skip_kernel,), skip=skip, preactivation=preactivation
        )
        for side in (23, 6):
            assert not fitting.build_errors(variant, side)
            logits = ResNet(variant, side=side)(torch.randn(2, 3, side, side))
            logits.sum().backward()
            assert logits.shape == (2, 10)


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


@pytest.mark.slow
def test_narrow_networks_survive_onednns_strided_1x1_convolution() -> None:
    """With a strided convolution this process hangs, or dies of a signal, in some 50 steps."""
    passive = {"OMP_WAIT_POLICY": "passive"}  # its two threads, on a loaded machine
    command = processes.python("-c", NARROW)
    assert processes.succeed(*command, environment=passive, seconds=110) == "trained\n"


@pytest.mark.parametrize("channels", [1, 4, 15, 16])
def test_a_narrow_strided_1x1_convolution_is_one_without_stride_of_selected_pixels(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    convolution = Convolution(channels, 8, 1, stride=2)
    for side in (7, 8):
        images = torch.randn(2, channels, side, side)
        expected = F.conv2d(images, convolution.weight, stride=2)
        with monkeypatch.context() as patch:
            if channels < 16:  # oneDNN's strided kernel is never reached
                patch.setattr(convolution, "_conv_forward", None)
            torch.testing.assert_close(convolution(images), expected)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [5, 6, 15])
def test_a_transition_leaves_out_only_what_its_pool_drops(side: int, kernel: int) -> None:
    variant = Variant((1,), (8,), (kernel,), transition="pool", activation="gelu")
    torch.manual_seed(0)
    transition = Transition(variant, variant.layers[0]).double()
    maps = torch.randn(3, 8, side, side, dtype=torch.float64)
    whole = F.max_pool2d(Convolution.forward(transition.conv, maps), 2)
    torch.testing.assert_close(transition(maps), F.gelu(transition.norm(whole)))
