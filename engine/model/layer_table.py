"""A network layer by layer, as torchsummary lists it: output shape, parameters, FLOPs, memory.

Derived from the `Variant` alone, in the order of the forward pass. Functional activations and the
last pool, which have no module, have no row; so report 002's table is reproduced row for row. The
max pool of a transition has one, because it changes the map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from engine.columns import columns
from engine.model import budget
from engine.model.variants import Layer, Variant

MIB = 2**20
BYTES = 4  # of a float32


class LayerRow(NamedTuple):
    """One module: what it puts out for one image, and what it costs."""

    name: str
    output: tuple[int, ...]  # C H W, or the classes
    parameters: int = 0
    flops: int = 0  # of a forward pass: two per multiply-add, as `budget.flops` counts them

    @property
    def bytes(self) -> int:
        """The memory of its output in float32."""
        return BYTES * math.prod(self.output)


def layer_rows(variant: Variant, classes: int = 10, side: int = 32) -> list[LayerRow]:
    """Every module in order, numbered as torchsummary does: `Conv2d-1`, `BatchNorm2d-2`, ..."""
    return [
        row._replace(name=f"{row.name}-{number}")
        for number, row in enumerate(_rows(variant, classes, side), start=1)
    ]


def layer_table(variant: Variant, classes: int = 10, side: int = 32) -> str:
    """The rows as text, with the totals below."""
    rows = layer_rows(variant, classes, side)
    head = ("layer", "output shape", "parameters", "MFLOPs", "MiB")
    lines = [
        (
            row.name,
            " x ".join(map(str, row.output)),
            f"{row.parameters:,}",
            f"{row.flops / 1e6:,.3f}",
            f"{row.bytes / MIB:.3f}",
        )
        for row in rows
    ]
    return "\n".join([columns(head, lines, right=(2, 3, 4)), "", *totals(rows, side)])


def totals(rows: list[LayerRow], side: int = 32) -> list[str]:
    """The sums over all rows in words: parameters, FLOPs, memory."""
    parameters = sum(row.parameters for row in rows)
    images = 3 * side**2 * BYTES
    # Twice the outputs: torchsummary counts a gradient for each.
    passes = 2 * sum(row.bytes for row in rows)
    weights = BYTES * parameters
    return [
        f"parameters: {parameters:,}",
        f"forward: {sum(row.flops for row in rows) / 1e9:.3f} GFLOPs per image",
        f"memory in float32, MiB: input {images / MIB:.2f}, forward and backward "
        f"{passes / MIB:.2f}, parameters {weights / MIB:.2f}, "
        f"total {(images + passes + weights) / MIB:.2f}",
    ]


def _rows(variant: Variant, classes: int, side: int) -> Iterator[LayerRow]:
    sides = budget.feature_maps(variant, side)
    first, last = variant.stem_width, variant.widths[-1]
    yield _convolution(3, first, variant.stem_kernel, sides[0], bias=variant.stem == "whiten")
    if not variant.preactivation and variant.stem == "conv":
        yield _norm(first, sides[0])
    if variant.se == "stem":
        yield from _squeeze_excite(variant, first, sides[0])
    for layer, before, after in zip(variant.layers, sides, sides[1:], strict=False):
        pools = variant.transition == "pool"
        if pools:
            yield from _transition(layer, after)
        for index in range(layer.blocks):
            changes = index == 0 and not pools
            yield from _block(variant, layer, changes, before if changes else after, after)
    if variant.preactivation:
        yield _norm(last, sides[-1])
    inputs = last * budget.pooled_side(variant, side) ** 2
    if variant.dropout and variant.dropout_place == "classifier":
        yield LayerRow("Dropout", (inputs,))
    biases = classes if variant.classifier_bias else 0
    yield LayerRow("Linear", (classes,), inputs * classes + biases, 2 * inputs * classes)


def _transition(layer: Layer, after: int) -> Iterator[LayerRow]:
    """What a layer begins with where the transition is a pool."""
    yield _convolution(layer.before, layer.width, layer.kernel, 2 * after)  # what is pooled
    yield LayerRow("MaxPool2d", (layer.width, after, after))
    yield _norm(layer.width, after)
    yield LayerRow("Transition", (layer.width, after, after))


def _block(
    variant: Variant, layer: Layer, first: bool, before: int, after: int
) -> Iterator[LayerRow]:
    """One residual block; `before` and `after` are the sides of its input and output maps."""
    channels, width = (layer.before if first else layer.width), layer.width
    if variant.preactivation:
        yield _norm(channels, before)
    yield _convolution(channels, width, layer.kernel, after)
    yield _norm(width, after)
    yield _convolution(width, width, layer.kernel, after)
    if not variant.preactivation:
        yield _norm(width, after)
    if variant.se == "block":
        yield from _squeeze_excite(variant, width, after)
    if first and layer.projects:
        if variant.skip == "maxpool" and layer.stride != 1:
            yield LayerRow("MaxPool2d", (channels, after, after))
        yield _convolution(channels, width, layer.skip_kernel, after)
        if not variant.preactivation:
            yield _norm(width, after)
    if variant.dropout and variant.dropout_place == "block":
        yield LayerRow("Dropout", (width, after, after))
    yield LayerRow("BasicBlock", (width, after, after))


def _convolution(before: int, width: int, kernel: int, side: int, bias: bool = False) -> LayerRow:
    weights = before * width * kernel**2
    parameters = weights + (width if bias else 0)
    return LayerRow("Conv2d", (width, side, side), parameters, 2 * weights * side**2)


def _norm(width: int, side: int) -> LayerRow:
    return LayerRow("BatchNorm2d", (width, side, side), 2 * width)


def _squeeze_excite(variant: Variant, width: int, side: int) -> Iterator[LayerRow]:
    inner = width // variant.se_reduction
    yield LayerRow("AdaptiveAvgPool2d", (width, 1, 1))
    yield LayerRow("Conv2d", (inner, 1, 1), width * inner + inner, 2 * width * inner)
    yield LayerRow("ReLU", (inner, 1, 1))
    yield LayerRow("Conv2d", (width, 1, 1), width * inner + width, 2 * width * inner)
    yield LayerRow("Sigmoid", (width, 1, 1))
    yield LayerRow("SEBlock", (width, side, side))
