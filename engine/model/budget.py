"""The costs of a network in closed form: parameters, FLOPs, sizes of the feature maps.

Equal to the built network to the unit, but a thousand times faster, so that a network is refused
or listed before anything is built.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.model.variants import Layer, Variant


class Parameters(NamedTuple):
    """The parameters of each part.

    SE units inside blocks, and the last batch norm of a pre-activation network, count to their
    layer; `se` is the unit after the stem alone.
    """

    stem: int
    se: int
    layers: tuple[int, ...]
    classifier: int

    @property
    def total(self) -> int:
        """The whole network's."""
        return self.stem + self.se + sum(self.layers) + self.classifier


class Flops(NamedTuple):
    """FLOPs per image of convolutions and linear layers; a multiply-add counts as two."""

    forward: int
    training: int  # forward and backward


def feature_maps(variant: Variant, side: int = 32) -> list[int]:
    """The side of the feature map after the stem and after each layer."""
    sides = [_ceil(side, variant.stem_stride)]
    for layer in variant.layers:
        sides.append(_ceil(sides[-1], layer.stride))
    return sides


def depth(variant: Variant) -> int:
    """The layers with weights on the main path, as "ResNet-18" counts them."""
    return 2 * sum(variant.blocks) + 2


def pooled_side(variant: Variant, side: int = 32) -> int:
    """The side of the map after the average pool; 0 where it is larger than its input."""
    return 1 if variant.pool == "global" else feature_maps(variant, side)[-1] // int(variant.pool)


def parameters(
    variant: Variant, classes: int = 10, channels: int = 3, side: int = 32
) -> Parameters:
    """Count every part's parameters."""
    first, last = variant.widths[0], variant.widths[-1]
    stem = channels * first * variant.stem_kernel**2
    layers = [_layer_parameters(variant, layer) for layer in variant.layers]
    if variant.preactivation:
        layers[-1] += 2 * last
    else:
        stem += 2 * first
    se = _se_parameters(variant, first) if variant.se == "stem" else 0
    inputs = last * pooled_side(variant, side) ** 2
    return Parameters(stem, se, tuple(layers), inputs * classes + classes)


def _layer_parameters(variant: Variant, layer: Layer) -> int:
    """The parameters of one layer, all its blocks."""
    before, width = layer.before, layer.width
    total = layer.blocks * block_parameters(variant, layer)
    total += (before - width) * width * layer.kernel**2  # the first convolution of the first block
    if variant.preactivation:
        total += 2 * (before - width)  # the first block normalises its input
    if layer.projects:
        total += before * width * layer.skip_kernel**2
        total += 0 if variant.preactivation else 2 * width
    return total


def block_parameters(variant: Variant, layer: Layer) -> int:
    """The parameters of one more block in `layer`."""
    unit = _se_parameters(variant, layer.width) if variant.se == "block" else 0
    return 2 * layer.width**2 * layer.kernel**2 + 4 * layer.width + unit


def flops(variant: Variant, classes: int = 10, channels: int = 3, side: int = 32) -> Flops:
    """Count the FLOPs of a forward pass, and of a forward and backward pass.

    The backward pass costs each convolution twice its forward pass (a gradient for the weights
    and one for the input); the images themselves need no gradient.
    """
    sides = feature_maps(variant, side)
    stem = channels * variant.widths[0] * variant.stem_kernel**2 * sides[0] ** 2
    adds = stem + variant.widths[-1] * pooled_side(variant, side) ** 2 * classes
    if variant.se == "stem":
        adds += 2 * variant.widths[0] * _squeezed(variant, variant.widths[0])
    for layer, map_side in zip(variant.layers, sides[1:], strict=True):
        adds += _layer_adds(variant, layer, map_side)
    return Flops(2 * adds, 6 * adds - 2 * stem)


def _layer_adds(variant: Variant, layer: Layer, map_side: int) -> int:
    """The multiply-adds of one layer, whose maps have `map_side`."""
    convolutions = layer.before * layer.width + (2 * layer.blocks - 1) * layer.width**2
    weights = convolutions * layer.kernel**2
    if layer.projects:
        weights += layer.before * layer.width * layer.skip_kernel**2
    adds = weights * map_side**2
    if variant.se == "block":
        adds += layer.blocks * 2 * layer.width * _squeezed(variant, layer.width)
    return adds


def values(variant: Variant, side: int = 32) -> int:
    """The values that the convolutions write per image, a measure of memory traffic."""
    sides = feature_maps(variant, side)
    total = variant.widths[0] * sides[0] ** 2
    for layer, map_side in zip(variant.layers, sides[1:], strict=True):
        total += (2 * layer.blocks + layer.projects) * layer.width * map_side**2
    return total


def training_traffic(variant: Variant, side: int = 32) -> int:
    """The numbers that an image moves to and from memory in training, nothing fused or cached.

    An estimate for rooflines: a convolution's three products read and write their maps once; a
    normalisation passes 3 times over its map forward and 5 times backward, an activation 2 and 3
    times, the sum of two paths 3 and 3 times. Weights are shared by a batch and not counted.
    """
    sides = feature_maps(variant, side)
    passes, addition = 8 + 5, 6
    before = variant.widths[0] * sides[0] ** 2
    moved = (3 + passes) * before
    for layer, map_side in zip(variant.layers, sides[1:], strict=True):
        after = layer.width * map_side**2
        moved += 3 * (before + after) + (layer.blocks - 1) * 3 * 2 * after
        moved += layer.blocks * (3 * 2 + 2 * passes + addition) * after
        if layer.projects:
            moved += 3 * (before + after) + 8 * after
        before = after
    return moved


def _se_parameters(variant: Variant, width: int) -> int:
    squeezed = _squeezed(variant, width)
    return 2 * width * squeezed + squeezed + width


def _squeezed(variant: Variant, width: int) -> int:
    return width // variant.se_reduction


def _ceil(side: int, stride: int) -> int:
    return -(-side // stride)
