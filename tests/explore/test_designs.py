"""All designs within a budget: none missing, none impossible, each counted to the unit."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engine.explore import designs
from engine.explore.designs import Space
from engine.model import VARIANTS, Variant, budget, fitting
from engine.model.blocks import Convolution, Whitening
from engine.model.resnet import count
from tests.support.networks import on_meta


def variants(space: Space) -> list[Variant]:
    return [p.variant(i) for p in designs.designs(space) for i in range(len(p))]


def subsets(*values: object) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)


SPACES = st.builds(
    Space,
    budget=st.integers(10_000, 300_000),
    layers=subsets(1, 2, 3, 4),
    blocks=subsets(1, 2, 3),
    widths=subsets(4, 5, 8, 20),
    growth=st.sampled_from([(1.0, 5.0), (2.0, 2.0), (0.0, 9.0)]),
    conv_kernels=subsets(1, 2, 3, 5),
    skip_kernels=subsets(1, 2, 3, 9),
    mixed_kernels=st.booleans(),
    se=subsets("none", "stem", "block"),
    se_reduction=st.integers(1, 5),
    skip=subsets("conv", "maxpool"),
    preactivation=subsets(False, True),
    stem_kernels=subsets(1, 3, 5),
    stem_strides=subsets(1, 2),
    stem=subsets("conv", "whiten"),
    transition=subsets("stride", "pool"),
    parts=st.sampled_from(["resnet453", "house94"]),
    classes=st.integers(1, 100),
    side=st.integers(9, 40),
)


@settings(max_examples=12, deadline=None)
@given(space=SPACES, pick=st.integers(0, 10**9))
def test_a_design_costs_what_the_built_network_does(space: Space, pick: int) -> None:
    portions = list(designs.designs(space))
    if not portions:
        return
    portion = portions[pick % len(portions)]
    index = pick % len(portion)
    variant = portion.variant(index)
    network = on_meta(variant, classes=space.classes, side=space.side)
    assert portion.parameters[index] == count(network).total
    assert portion.parameters[index] == sum(p.numel() for p in network.parameters())
    images = torch.empty(2, 3, space.side, space.side, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = network(images)
        assert counter.get_total_flops() == 2 * portion.forward[index]
        logits.sum().backward()
    assert counter.get_total_flops() == 2 * portion.training[index]
    assert portion.values[index] == values_written(variant, space.side)
    named = network.named_modules()
    main_path = [m for name, m in named if "skip" not in name and "se" not in name]
    assert portion.depth[index] == sum(
        isinstance(m, Convolution | Whitening | nn.Linear) for m in main_path
    )


def values_written(variant: Variant, side: int) -> int:
    network, total = on_meta(variant, side=side), 0

    def add(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel()

    for module in network.modules():
        if isinstance(module, (Convolution, Whitening)):
            module.register_forward_hook(add)
    network(torch.empty(2, 3, side, side, device="meta"))  # one could not be normalised over 1x1
    return total


@settings(max_examples=12, deadline=None)
@given(space=SPACES, flops=st.integers(10**5, 10**8))
def test_exactly_the_designs_within_the_limits_are_there(space: Space, flops: int) -> None:
    limited = Space(**vars(space) | {"max_flops": flops, "depths": (4, 12), "least": 20_000})
    listed = variants(limited)
    assert len(set(listed)) == len(listed)
    low, high = space.growth
    every = [
        Variant(blocks=blocks, widths=widths, **rest)
        for family in designs.families(limited)
        for rest in [{k: v for k, v in vars(family).items() if k not in ("blocks", "widths")}]
        for blocks in itertools.product(space.blocks, repeat=len(family.blocks))
        for widths in itertools.product(space.widths, repeat=len(family.blocks))
        if all(low * a <= b <= high * a for a, b in itertools.pairwise(widths))
    ]  # fmt: skip
    fitting_ones = [variant for variant in every if not fitting.build_errors(variant, space.side)]
    assert designs.size(limited) == len(fitting_ones)
    right = {
        variant
        for variant in fitting_ones
        if 20_000
        <= budget.parameters(variant, space.classes, side=space.side).total
        <= space.budget
        and budget.flops(variant, space.classes, side=space.side).forward <= flops
        and 4 <= budget.depth(variant) <= 12
    }
    assert set(listed) == right


def test_designs_do_not_depend_on_the_size_of_a_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(budget=600_000, widths=(16, 24, 32), blocks=(1, 2), layers=(3,))
    whole = variants(space)
    monkeypatch.setattr(designs, "CHUNK", 3)
    parts = variants(space)
    assert len(whole) > 100
    assert set(parts) == set(whole) and len(parts) == len(whole)


@pytest.mark.parametrize("name", "resnet453 se_resnet443 resnet4643_w32 resnet1111_skip2".split())
def test_the_reports_networks_are_found_in_their_spaces(name: str) -> None:
    variant = VARIANTS[name]
    space = Space(
        budget=6_000_000,
        layers=(len(variant.blocks),),
        growth=(2.0, 2.0),
        conv_kernels=variant.conv_kernels[:1],
        skip_kernels=variant.skip_kernels[:1],
        se=(variant.se,),
    )
    assert variant in variants(space)
