"""The drawing of a network shows its blocks, sizes and skip paths, and is well-formed SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from engine.model import VARIANTS, Variant, budget
from engine.model.drawing import drawing

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_block_has_a_bar_and_a_skip_path(name: str) -> None:
    variant = VARIANTS[name]
    root = ElementTree.fromstring(drawing(variant, title=name))
    words = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert any(f"{budget.parameters(variant).total:,} parameters" in each for each in words)
    for layer, side in zip(variant.layers, budget.feature_maps(variant)[1:], strict=True):
        assert f"{layer.width} × {side} × {side}" in words
    arcs = [path for path in root.iter(f"{SVG}path") if " C" in path.attrib["d"]]
    assert len(arcs) == sum(variant.blocks)
    dashed = [path for path in arcs if "stroke-dasharray" in path.attrib]
    assert len(dashed) == sum(layer.projects for layer in variant.layers)
    bars = [bar for bar in root.iter(f"{SVG}rect") if "rx" in bar.attrib]
    transitions = len(variant.blocks) if variant.transition == "pool" else 0
    assert len(bars) == sum(variant.blocks) + transitions + 4 + (variant.se == "stem")


def test_a_max_pool_on_the_skip_path_is_drawn_and_named() -> None:
    words = drawing(VARIANTS["resnet22222_maxpool_skip"])
    assert words.count("skip pool, 1×1") == 4 and words.count("l-4 7 z") == 4


def test_a_pool_transition_is_drawn_and_named() -> None:
    words = drawing(VARIANTS["house94"])
    assert words.count("conv, pool, 1 block, 3×3") == 3 and words.count("l-4 7 z") == 3
    assert "whitening 2×2" in words and "24 × 31 × 31" in words
    assert "global maximum" in words and ", gelu" in words


def test_what_else_a_network_has_is_in_the_title() -> None:
    text = drawing(Variant((1,), dropout=0.25, preactivation=True), title="a <b>")
    assert "dropout 0.25 (classifier)" in text and "pre-activation" in text
    assert "a &lt;b&gt;" in text
