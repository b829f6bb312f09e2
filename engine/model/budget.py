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
    """The side of the feature map after the stem and after each layer; 0 where nothing is left."""
    if variant.stem == "whiten":
        sides = [max(0, side - variant.stem_kernel + 1)]
    else:
        sides = [_ceil(side, variant.stem_stride)]
    for layer in variant.layers:
        pools = variant.transition == "pool"
        sides.append(sides[-1] // 2 if pools else _ceil(sides[-1], layer.stride))
    return sides


def depth(variant: Variant) -> int:
    """The layers with weights on the main path, as "ResNet-18" counts them."""
    transitions = len(variant.blocks) if variant.transition == "pool" else 0
    return 2 * sum(variant.blocks) + transitions + 2


def pooled_side(variant: Variant, side: int = 32) -> int:
    """The side of the map after the last pool; 0 where it is larger than its input."""
    return 1 if variant.pool == "global" else feature_maps(variant, side)[-1] // int(variant.pool)


def parameters(
    variant: Variant, classes: int = 10, channels: int = 3, side: int = 32
) -> Parameters:
    """Count every part's parameters, those that are never trained as well."""
    first, last = variant.stem_width, variant.widths[-1]
    stem = channels * first * variant.stem_kernel**2
    layers = [_layer_parameters(variant, layer) for layer in variant.layers]
    if variant.stem == "whiten":
        stem += first
    elif not variant.preactivation:
        stem += 2 * first
    if variant.preactivation:
        layers[-1] += 2 * last
    se = _se_parameters(variant, first) if variant.se == "stem" else 0
    inputs = last * pooled_side(variant, side) ** 2
    biases = classes if variant.classifier_bias else 0
    return Parameters(stem, se, tuple(layers), inputs * classes + biases)


def _layer_parameters(variant: Variant, layer: Layer) -> int:
    """The parameters of one layer, all its blocks."""
    before, width = layer.before, layer.width
    total = layer.blocks * block_parameters(variant, layer)
    if variant.transition == "pool":
        return total + before * width * layer.kernel**2 + 2 * width
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


def flops(
    variant: Variant,
    classes: int = 10,
    channels: int = 3,
    side: int = 32,
    frozen: int = 0,
    frozen_stem: bool = False,
) -> Flops:
    """Count the FLOPs of a forward pass, and of a forward and backward pass.

    The backward pass costs each convolution twice its forward pass (a gradient for the weights
    and one for the input); the images themselves need no gradient, the filters of a whitening stem
    neither. With `frozen` the stem and so many layers have no backward pass, with `frozen_stem`
    the stem has none; nor does the first part after them compute a gradient for its input.
    """
    sides = feature_maps(variant, side)
    width = variant.stem_width
    stem = channels * width * variant.stem_kernel**2 * sides[0] ** 2
    squeeze = width * _squeezed(variant, width) if variant.se == "stem" else 0
    pairs = zip(variant.layers, sides[1:], strict=True)
    layers = [_layer_adds(variant, layer, map_side) for layer, map_side in pairs]
    head = variant.widths[-1] * pooled_side(variant, side) ** 2 * classes
    trained = sum(layer.all for layer in layers[frozen:]) + head
    forward = stem + 2 * squeeze + sum(layer.all for layer in layers) + head
    if frozen:
        backward = 2 * trained - _first_inputs(variant, layers[frozen:], head)
    elif frozen_stem:
        backward = 2 * trained + 4 * squeeze
        backward -= squeeze if variant.se == "stem" else _first_inputs(variant, layers, head)
    else:
        backward = 2 * trained + 4 * squeeze + (0 if variant.stem == "whiten" else stem)
    return Flops(2 * forward, 2 * (forward + backward))


class _Adds(NamedTuple):
    """The multiply-adds of a layer."""

    all: int
    first: int  # of the convolutions that read the layer's input


def _first_inputs(variant: Variant, layers: list[_Adds], head: int) -> int:
    """The multiply-adds of the input gradient that the lowest trained part does not compute.

    In a pre-activation network that part is a batch norm, which needs it.
    """
    if variant.preactivation:
        return 0
    return layers[0].first if layers else head


def _layer_adds(variant: Variant, layer: Layer, map_side: int) -> _Adds:
    """The multiply-adds of one layer, whose maps have `map_side`."""
    area, kernel = map_side**2, layer.kernel**2
    if variant.transition == "pool":
        first = layer.before * layer.width * kernel * 4 * area  # as much as is pooled
        others = 2 * layer.blocks * layer.width**2 * kernel * area
    else:
        first = layer.before * layer.width * kernel * area
        if layer.projects:
            first += layer.before * layer.width * layer.skip_kernel**2 * area
        others = (2 * layer.blocks - 1) * layer.width**2 * kernel * area
    if variant.se == "block":
        others += layer.blocks * 2 * layer.width * _squeezed(variant, layer.width)
    return _Adds(first + others, first)


def values(variant: Variant, side: int = 32) -> int:
    """The values that the convolutions write per image, a measure of memory traffic."""
    sides = feature_maps(variant, side)
    total = variant.stem_width * sides[0] ** 2
    for layer, map_side in zip(variant.layers, sides[1:], strict=True):
        pools = 4 if variant.transition == "pool" else 0
        total += (pools + 2 * layer.blocks + layer.projects) * layer.width * map_side**2
    return total


def training_traffic(variant: Variant, side: int = 32) -> int:
    """The numbers that an image moves to and from memory in training, nothing fused or cached.

    An estimate for rooflines: a convolution's three products read and write their maps once; a
    normalisation passes 3 times over its map forward and 5 times backward, an activation 2 and 3
    times, the sum of two paths 3 and 3 times, a max pool once over its input and once over its
    output in each direction. A whitening stem is written once, and its bias passes 3 times.
    Weights are shared by a batch and not counted.
    """
    sides = feature_maps(variant, side)
    norm, activation, addition = 3 + 5, 2 + 3, 6
    passes = norm + activation
    moved = variant.stem_width * sides[0] ** 2
    moved *= 1 + 3 + activation if variant.stem == "whiten" else 3 + passes
    for layer, before, after in zip(variant.layers, sides, sides[1:], strict=False):
        entering, inside = layer.before * before**2, layer.width * after**2
        if variant.transition == "pool":
            wide = layer.width * (2 * after) ** 2
            moved += 3 * (entering + wide) + 2 * (wide + inside) + passes * inside
            moved += layer.blocks * 3 * 2 * inside
        else:
            moved += 3 * (entering + inside) + (layer.blocks - 1) * 3 * 2 * inside
        moved += layer.blocks * (3 * 2 + 2 * passes + addition) * inside
        if layer.projects:
            moved += 3 * (entering + inside) + 8 * inside
    return moved


def _se_parameters(variant: Variant, width: int) -> int:
    squeezed = _squeezed(variant, width)
    return 2 * width * squeezed + squeezed + width


def _squeezed(variant: Variant, width: int) -> int:
    return width // variant.se_reduction


def _ceil(side: int, stride: int) -> int:
    return -(-side // stride)
