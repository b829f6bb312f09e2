"""The closed form against the built network: parameters, operations, map sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from engine.config.schema import Model
from engine.model import VARIANTS, ResNet, Variant, budget, describe, fitting, resolve
from engine.model.blocks import Block, Transition, Whitening
from engine.model.resnet import count
from tests.support.networks import observed_sides, on_meta

GIGA = 1e9
# Stem, SE, layers, classifier, as the reports' catalogue has them.
PARTS: dict[str, tuple[int, int, tuple[int, ...], int]] = {
    "se_resnet443": (1856, 580, (295_936, 1_116_416, 3_280_384), 2570),
    "resnet443": (1856, 0, (295_936, 1_116_416, 3_280_384), 2570),
    "resnet18": (1856, 0, (147_968, 525_568, 2_099_712, 8_393_728), 5130),
    "resnet2222_w16_k5": (464, 0, (25_728, 90_432, 361_088, 1_443_072), 1290),
    "resnet2222_w32": (928, 0, (37_120, 131_712, 525_568, 2_099_712), 2570),
    "resnet1111": (1856, 0, (73_984, 230_144, 919_040, 3_673_088), 5130),
    "resnet1111_pool3": (1856, 0, (73_984, 230_144, 919_040, 3_673_088), 5130),
    "resnet1111_skip2": (1856, 0, (73_984, 254_720, 1_017_344, 4_066_304), 5130),
    "resnet4643_w32": (928, 0, (74_240, 427_648, 1_116_416, 3_280_384), 2570),
    "resnet5743_w32": (928, 0, (92_800, 501_632, 1_116_416, 3_280_384), 2570),
    "resnet2222_w64_192_192_256": (1856, 0, (147_968, 1_120_128, 1_365_888, 2_263_552), 2570),
    "resnet22222": (1856, 0, (147_968, 525_568, 745_632, 1_273_728, 2_263_552), 2570),
    "resnet22222_maxpool_skip": (1856, 0, (147_968, 525_568, 745_632, 1_273_728, 2_263_552), 2570),
    "resnet224": (1856, 0, (147_968, 525_568, 4_461_056), 2570),
    "resnet224_w64_128_250": (1856, 0, (147_968, 525_568, 4_262_000), 2510),
    "resnet224_w64_130_251": (1856, 0, (147_968, 540_800, 4_299_881), 2520),
    "resnet453": (1856, 0, (295_936, 1_411_840, 3_280_384), 2570),
    "house94": (312, 0, (87_936, 1_328_640, 3_541_248), 3840),
}
MAPS = {
    "se_resnet443": [32, 16, 8],
    "resnet453": [32, 16, 8],
    "resnet224_w64_130_251": [32, 16, 8],
    "resnet18": [32, 16, 8, 4],
    "resnet4643_w32": [32, 16, 8, 4],
    "resnet1111_skip2": [32, 16, 8, 4],
    "resnet2222_w64_192_192_256": [16, 8, 4, 2],
    "resnet22222_maxpool_skip": [16, 8, 4, 2, 1],
    "house94": [15, 7, 3],
}


@pytest.mark.parametrize("name", PARTS)
def test_every_part_has_the_catalogues_parameters(name: str) -> None:
    stem, se, layers, classifier = PARTS[name]
    assert count(on_meta(VARIANTS[name])) == (stem, se, layers, classifier)
    assert describe(VARIANTS[name])["parameters"] == {
        "total": stem + se + sum(layers) + classifier,
        "stem": stem,
        "se": se,
        "layers": list(layers),
        "classifier": classifier,
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_the_feature_maps_are_those_of_a_forward_pass(name: str) -> None:
    variant = VARIANTS[name]
    sides = observed_sides(on_meta(variant))
    assert sides == budget.feature_maps(variant)
    assert describe(variant)["feature_maps"] == MAPS.get(name, sides[1:])


@pytest.mark.parametrize(
    ("name", "forward", "training"),
    [
        ("resnet453", 1.748, 5.242),
        ("se_resnet443", 1.597, 4.789),
        ("resnet18", 1.111, 3.329),
        ("house94", 0.344, 1.029),
        ("house95", 0.513, 1.537),
    ],
)
def test_the_flops_are_the_known_ones(name: str, forward: float, training: float) -> None:
    flops = budget.flops(VARIANTS[name])
    assert round(flops.forward / GIGA, 3) == forward
    assert round(flops.training / GIGA, 3) == training


DESIGNS = st.integers(1, 4).flatmap(
    lambda depth: st.builds(
        Variant,
        blocks=st.tuples(*[st.integers(1, 3)] * depth),
        widths=st.tuples(*[st.integers(4, 20)] * depth),
        conv_kernels=st.tuples(*[st.integers(1, 11)] * depth),
        skip_kernels=st.tuples(*[st.integers(1, 11)] * depth),
        pool=st.sampled_from(["global", 1, 2, 3]),
        se=st.sampled_from(["none", "stem", "block"]),
        se_reduction=st.integers(1, 4),
        skip=st.sampled_from(["conv", "maxpool"]),
        preactivation=st.booleans(),
        stem_kernel=st.integers(1, 11),
        stem_stride=st.integers(1, 4),
        dropout=st.sampled_from([0.0, 0.3]),
        dropout_place=st.sampled_from(["classifier", "block"]),
        stem=st.sampled_from(["conv", "whiten"]),
        transition=st.sampled_from(["stride", "pool"]),
        activation=st.sampled_from(["relu", "gelu", "silu"]),
        norm_scale=st.booleans(),
        pool_kind=st.sampled_from(["mean", "max"]),
        classifier_bias=st.booleans(),
        logit_scale=st.sampled_from([1.0, 0.25]),
    )
)


def buildable(variant: Variant) -> Variant:
    """The variant without what its transition or its stem excludes, so that few are skipped."""
    if variant.stem == "whiten":
        variant = dataclasses.replace(variant, stem_stride=1)
    if variant.transition == "pool":
        one = (1,) * len(variant.blocks)
        parts = {"skip": "conv", "skip_kernels": one, "preactivation": False}
        variant = dataclasses.replace(variant, **parts)  # type: ignore[arg-type]
    return variant


@settings(max_examples=20, deadline=None)
@given(
    DESIGNS.map(buildable),
    st.integers(1, 100),
    st.integers(1, 4),
    st.integers(9, 40),
    st.integers(0, 4),
    st.booleans(),
)
def test_the_closed_form_is_the_built_network(
    variant: Variant, classes: int, channels: int, side: int, frozen: int, frozen_stem: bool
) -> None:
    channels = 3 if variant.stem == "whiten" else channels
    if fitting.build_errors(variant, side):
        return
    network = on_meta(variant, classes=classes, channels=channels, side=side)
    closed = budget.parameters(variant, classes, channels, side)
    assert count(network) == closed
    assert sum(parameter.numel() for parameter in network.parameters()) == closed.total
    network.frozen_layers, network.frozen_stem = frozen, frozen_stem
    flops = budget.flops(variant, classes, channels, side, frozen, frozen_stem)
    images = torch.empty(2, channels, side, side, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = network(images)
        assert counter.get_total_flops() == 2 * flops.forward
        logits.sum().backward()
    assert counter.get_total_flops() == 2 * flops.training
    assert logits.shape == (2, classes)
    assert observed_sides(network, side) == budget.feature_maps(variant, side)


@pytest.mark.parametrize("limit", [100_000, 1_000_000, 3_000_000])
@pytest.mark.parametrize("name", ["se_resnet443", "resnet22222", "resnet5743_w32"])
def test_the_nearest_fits_and_is_the_nearest(name: str, limit: int) -> None:
    fits = fitting.nearest(VARIANTS[name], limit)
    assert fits
    for fit in fits:
        assert not fitting.build_errors(fit.variant, 32)
        assert budget.parameters(fit.variant).total == fit.parameters <= limit
    assert fits == sorted(fits, key=lambda fit: -fit.parameters)


def test_fewer_blocks_are_the_best_choice_by_exhaustive_search() -> None:
    fits = fitting.nearest(VARIANTS["resnet5743_w32"], 3_000_000)
    best = max(
        total
        for blocks in ((a, b, c, d) for a in range(1, 6) for b in range(1, 8)
                       for c in range(1, 5) for d in range(1, 4))
        if (total := budget.parameters(Variant(blocks, (32,))).total) <= 3_000_000
    )  # fmt: skip
    assert best in [fit.parameters for fit in fits if fit.field == "blocks"]


def test_a_very_deep_network_over_budget_is_refused_at_once() -> None:
    deep = Variant((1000,) * 6, (4,))
    for fit in fitting.nearest(deep, 5_000_000):
        assert budget.parameters(fit.variant).total <= 5_000_000


def test_describe_has_its_keys_and_the_name_of_the_network() -> None:
    described = describe(resolve(Model(name="resnet453")))
    assert list(described) == ["variant", "parameters", "flops", "feature_maps"]
    assert list(described["flops"]) == ["forward", "training"]
    assert described["variant"] == "resnet453"
    changed = resolve(Model(name="resnet453", widths=(24,), dropout=0.4))
    assert describe(changed)["variant"] == "resnet453_w24_drop0.4"


def test_units_in_blocks_and_the_last_norm_count_to_their_layers() -> None:
    plain = budget.parameters(Variant((1, 1), (16,)))
    units = budget.parameters(Variant((1, 1), (16,), se="block"))
    assert units.se == 0
    assert [a - b for a, b in zip(units.layers, plain.layers, strict=True)] == [49, 162]
    early = budget.parameters(Variant((1, 1), (16,), preactivation=True))
    assert early.stem == plain.stem - 32  # a bare convolution
    assert early.layers == (plain.layers[0], plain.layers[1] - 2 * 16 - 2 * 32 + 2 * 32)


@pytest.mark.parametrize("side", [20, 28, 32])
def test_a_network_without_padding_costs_what_it_does_at_each_size(side: int) -> None:
    variant = VARIANTS["house94"]
    network = on_meta(variant)
    assert observed_sides(network, side) == budget.feature_maps(variant, side)
    for frozen in range(4):
        flops = budget.flops(variant, side=side, frozen=frozen)
        network.frozen_layers = frozen
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, side, side, device="meta")).sum().backward()
        assert counter.get_total_flops() == flops.training
    # With an untrained bias the first layer needs no gradient for its input.
    detached = budget.flops(variant, frozen_stem=True)
    assert round(detached.training / GIGA, 3) == 1.005


@pytest.mark.parametrize("side", [20, 32])
@pytest.mark.parametrize("name", ["resnet453", "resnet1111", "resnet22222_maxpool_skip", "house94"])
def test_training_traffic_is_what_a_networks_parts_move(name: str, side: int) -> None:
    variant = VARIANTS[name]
    network = ResNet(variant, 10, side=side).eval()
    moved = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        if isinstance(module, Whitening):
            moved += (1 + 3) * output.numel()  # its filters need no gradient, its bias does
        elif isinstance(module, nn.Conv2d):
            images = inputs[0].shape[1] == 3  # nothing is computed for them, and they are few
            moved += 3 * (output.numel() + (0 if images else inputs[0].numel()))
        elif isinstance(module, nn.BatchNorm2d):
            moved += (3 + 5) * output.numel()
        elif isinstance(module, Block):
            moved += 2 * (2 + 3) * output.numel() + 6 * output.numel()  # activations, the sum
        elif isinstance(module, nn.MaxPool2d) and variant.transition == "pool":
            moved += 2 * (inputs[0].numel() + output.numel())
        elif isinstance(module, (nn.ReLU, nn.GELU, Transition)):
            moved += (2 + 3) * output.numel()

    for module in network.modules():
        module.register_forward_hook(add)
    with torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    assert budget.training_traffic(variant, side) == pytest.approx(moved, rel=0.12)
