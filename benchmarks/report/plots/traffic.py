"""How much memory a training step moves, as an estimate for rooflines."""

from __future__ import annotations

from engine.model.budget import feature_maps
from engine.model.variants import Variant


def traffic(variant: Variant, side: int = 32) -> int:
    """Numbers moved to and from memory for an image in training, where nothing is fused or cached.

    An estimate for rooflines: a convolution's three products read and write their maps once; a
    normalisation makes 3 passes over its map forward and 5 back, an activation 2 and 3, a sum of
    two paths 3 and 3. Weights are shared by a batch and not counted.
    """
    sides = feature_maps(variant, side)
    passes, addition = 8 + 5, 6
    first = variant.widths[0] * sides[0] ** 2
    moved = 3 * first + passes * first
    before = first
    for layer, map_side in zip(variant.layers, sides[1:], strict=True):
        after = layer.width * map_side**2
        for block in range(layer.blocks):
            inside = before if block == 0 else after
            moved += 3 * (inside + after) + 3 * 2 * after + 2 * passes * after + addition * after
            if block == 0 and layer.projects:
                moved += 3 * (inside + after) + 8 * after
        before = after
    return moved
