"""Whether a network can be built for images of a given side, and the nearest within a budget."""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Iterator
from typing import NamedTuple

from engine.model import budget
from engine.model.variants import Variant, doubled

EXHAUSTIVE = 20_000  # choices of blocks that are all tried; with more, the cheapest blocks stay


class Fit(NamedTuple):
    """A smaller variant within the budget, with one field changed."""

    field: str  # widths or blocks
    variant: Variant
    parameters: int


def build_errors(variant: Variant, side: int) -> list[tuple[str, str]]:
    """Why the network cannot be built, as (field of the variant, reason and nearest that fits)."""
    return [
        *_contradictions(variant),
        *_lost_layers(variant, side),
        *_lost_kernels(variant, side),
        *_lost_channels(variant),
    ]


def nearest(variant: Variant, limit: int, classes: int = 10, side: int = 32) -> list[Fit]:
    """The variants closest below `limit` parameters: with narrower layers, and with fewer blocks.

    The larger comes first; each is computed, not estimated. Where neither alone suffices, the
    network of one block per layer is narrowed.
    """

    def total(candidate: Variant) -> int:
        return budget.parameters(candidate, classes, side=side).total

    def fits(candidate: Variant) -> bool:
        return total(candidate) <= limit

    smaller = [_narrower(variant, fits), _shallower(variant, limit, total)]
    if smaller == [None, None]:
        least = dataclasses.replace(variant, blocks=(1,) * len(variant.blocks))
        smaller = [_narrower(least, fits)]
    fitting = [
        Fit("blocks" if one.widths == variant.widths else "widths", one, total(one))
        for one in smaller
        if one is not None
    ]
    return sorted(fitting, key=lambda fit: -fit.parameters)


def _contradictions(variant: Variant) -> Iterator[tuple[str, str]]:
    """Parts that exclude each other, and parts that would have no effect."""
    if variant.stem == "whiten" and variant.stem_stride != 1:
        yield (
            "stem_stride",
            f"a whitening stem has stride 1, not {variant.stem_stride}",
        )
    if variant.transition != "pool":
        return
    if variant.preactivation:
        yield (
            "preactivation",
            "a pool transition ends with batch norm and activation, which pre-activation blocks "
            "begin with; give model.transition stride or model.preactivation false",
        )
    no_path = "no skip path has a convolution where model.transition is pool"
    if variant.skip != "conv":
        yield "skip", f"{no_path}; give model.skip conv"
    if set(variant.skip_kernels) != {1}:
        yield "skip_kernels", f"{no_path}; give model.skip_kernels [1]"


def _lost_layers(variant: Variant, side: int) -> Iterator[tuple[str, str]]:
    """Layers that would halve a map of 1x1, and a pool larger than the last map."""
    sides = budget.feature_maps(variant, side)
    if 0 in sides:
        yield _nothing_left(variant, side, sides)
        return
    if variant.transition == "stride" and sides[-2:] == [1, 1] and len(variant.blocks) > 1:
        room = sides.index(1) + (1 if sides[0] == 1 else 0)
        yield (
            "blocks",
            f"layer {room + 1} would halve a map of 1x1: images of {side}x{side} with a stem of "
            f"stride {variant.stem_stride} have room for {room} layers, not {len(variant.blocks)}",
        )
    if budget.pooled_side(variant, side) == 0:
        last = sides[-1]
        yield (
            "pool",
            f"a pool of {variant.pool} leaves nothing of the last map, {last}x{last}; the nearest "
            f"that fits: {last} (or global)",
        )


def _nothing_left(variant: Variant, side: int, sides: list[int]) -> tuple[str, str]:
    """Where a map without padding has become smaller than what reads it."""
    images = f"images of {side}x{side}"
    if sides[0] == 0:
        kernel = variant.stem_kernel
        text = f"a whitening stem of {kernel}x{kernel}, which has no padding, is larger than "
        return "stem_kernel", f"{text}{images}"
    room = sides.index(0) - 1
    after = f" with a stem of {sides[0]}x{sides[0]}"
    return (
        "blocks",
        f"the pool of layer {room + 1} would halve a map of 1x1: {images}{after} have room for "
        f"{room} layers, not {len(variant.blocks)}",
    )


def _lost_kernels(variant: Variant, side: int) -> Iterator[tuple[str, str]]:
    """Kernels larger than their map, which is padded by (kernel - 1) // 2."""
    sides = budget.feature_maps(variant, side)
    if 0 in sides:
        return
    pooled = variant.skip == "maxpool"  # then the skip path's convolution sees the layer's own map
    smallest = {"conv_kernels": sides[1:], "skip_kernels": sides[1:] if pooled else sides[:-1]}
    for field, maps in smallest.items():
        for layer, (kernel, seen) in enumerate(zip(getattr(variant, field), maps, strict=True)):
            padded = seen + 2 * ((kernel - 1) // 2)
            counts = field == "conv_kernels" or variant.layers[layer].projects
            if kernel > padded and counts:
                yield (
                    field,
                    f"a kernel of {kernel} is larger than its padded map in layer {layer + 1} "
                    f"({padded}x{padded}); the nearest that fits: {kernel - 1}",
                )
                break


def _lost_channels(variant: Variant) -> Iterator[tuple[str, str]]:
    """An SE unit that reduces to less than one channel."""
    widths = {"none": (), "stem": (variant.stem_width,), "block": variant.widths}
    squeezed = widths[variant.se]
    if squeezed and min(squeezed) < variant.se_reduction:
        yield (
            "se_reduction",
            f"a squeeze of {min(squeezed)} channels by {variant.se_reduction} leaves none; "
            f"the nearest that fits: model.se_reduction {min(squeezed)}",
        )


def _narrower(variant: Variant, fits: Callable[[Variant], bool]) -> Variant | None:
    """The widest scaling of all layers that fits, by bisection of the first layer's width."""
    widths, depth = variant.widths, len(variant.widths)
    doubling = widths == doubled(widths[0], depth)

    def scaled(first: int) -> Variant:
        others = tuple(max(1, width * first // widths[0]) for width in widths)
        return dataclasses.replace(variant, widths=doubled(first, depth) if doubling else others)

    low, high = 0, widths[0]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(scaled(middle)) else (low, middle)
    if low == 0 or any(_lost_channels(scaled(low))):
        return None
    return scaled(low)


def _shallower(variant: Variant, limit: int, total: Callable[[Variant], int]) -> Variant | None:
    """The largest that fits with fewer blocks; of a very deep one, the most expensive go first."""
    costs = [budget.block_parameters(variant, layer) for layer in variant.layers]
    least = dataclasses.replace(variant, blocks=(1,) * len(costs))
    spare = limit - total(least)
    if spare < 0:
        return None
    extra = [count - 1 for count in variant.blocks]
    if math.prod(variant.blocks) <= EXHAUSTIVE:
        choices = itertools.product(*(range(count + 1) for count in extra))
        sums = ((sum(map(operator.mul, some, costs)), some) for some in choices)
        kept = max(pair for pair in sums if pair[0] <= spare)[1]
    else:
        room = [0] * len(costs)
        for index in sorted(range(len(costs)), key=lambda layer: costs[layer]):
            room[index] = min(extra[index], spare // costs[index])
            spare -= room[index] * costs[index]
        kept = tuple(room)
    return dataclasses.replace(variant, blocks=tuple(count + 1 for count in kept))
