"""Every design of the family within a budget, counted in closed form, a million per second.

The costs of a design are linear in the blocks of each layer. So `budget` counts every choice of
widths with one block and with one more per layer, and a product of matrices does the rest.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.model import budget, fitting
from engine.model.variants import VARIANTS, Variant

Counts = npt.NDArray[np.int64]
Choices = npt.NDArray[np.int64]

CHUNK = 60_000  # designs per portion, so that memory does not grow with their number
UNLIMITED = 2**62
SHARED = (  # parts that all designs have alike
    "activation", "norm_scale", "norm_eps", "norm_momentum", "pool_kind", "classifier_bias",
    "logit_scale",
)  # fmt: skip


@dataclass(frozen=True)
class Space:
    """Which designs are compared: each list holds the choices for every layer or network."""

    budget: int = 5_000_000
    least: int = 0  # parameters
    max_flops: int = UNLIMITED  # of a forward pass
    depths: tuple[int, int] = (1, 10**6)
    layers: tuple[int, ...] = (2, 3, 4)
    blocks: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    widths: tuple[int, ...] = (16, 32, 64, 96, 128, 192, 256, 512)
    growth: tuple[float, float] = (1.0, 3.0)  # factor from one layer's width to the next
    conv_kernels: tuple[int, ...] = (3, 5)
    skip_kernels: tuple[int, ...] = (1, 3)
    mixed_kernels: bool = False  # each layer has kernels of its own
    se: tuple[str, ...] = ("none", "stem", "block")
    se_reduction: int = 16
    skip: tuple[str, ...] = ("conv",)
    preactivation: tuple[bool, ...] = (False,)
    stem_kernels: tuple[int, ...] = (3,)
    stem_strides: tuple[int, ...] = (1,)
    stem: tuple[str, ...] = ("conv",)
    transition: tuple[str, ...] = ("stride",)
    parts: str = "resnet453"  # the variant whose activation, norms and head all designs have
    classes: int = 10
    side: int = 32


@dataclass(frozen=True)
class Designs:
    """Designs that differ in widths and blocks alone, with their costs."""

    family: Variant  # everything else
    widths: Choices  # designs x layers
    blocks: Choices  # designs x layers
    parameters: Counts
    forward: Counts  # FLOPs per image
    training: Counts
    depth: Counts
    values: Counts  # written by the convolutions, per image

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Designs:
        """Those that an index or a mask selects."""
        arrays = (self.widths, self.blocks, self.parameters, self.forward, self.training,
                  self.depth, self.values)  # fmt: skip
        return Designs(self.family, *(array[index] for array in arrays))

    def variant(self, index: int) -> Variant:
        """One of the designs."""
        parts = vars(self.family) | {
            "blocks": tuple(self.blocks[index].tolist()),
            "widths": tuple(self.widths[index].tolist()),
        }
        return Variant(**parts)


def designs(space: Space) -> Iterator[Designs]:
    """All designs of `space` within its limits that can be built, in portions."""
    for family in families(space):
        for widths in _widths(family, space):
            yield from _within(family, widths, space)


def families(space: Space) -> Iterator[Variant]:
    """Every choice of all but widths and blocks that can be built."""
    others: Any = {name: getattr(VARIANTS[space.parts], name) for name in SHARED}
    for depth in space.layers:
        kernels = [*_kernels(space.conv_kernels, depth, space.mixed_kernels)]
        skips = [*_kernels(space.skip_kernels, depth - 1, space.mixed_kernels)] or [()]
        singles = itertools.product(
            space.se,
            space.skip if depth > 1 else ("conv",),
            space.preactivation,
            space.stem_kernels,
            space.stem_strides,
            space.stem,
            space.transition,
        )
        for conv, skip, single in itertools.product(kernels, skips, [*singles]):
            family = Variant(
                (1,) * depth, (space.se_reduction,) * depth, conv, (*skip[:1], *skip) or (1,),
                "global", single[0], space.se_reduction, *single[1:5],
                stem=single[5], transition=single[6], **others,
            )  # fmt: skip
            if not fitting.build_errors(family, space.side):
                yield family


def size(space: Space) -> int:
    """How many designs `space` holds, whatever their parameters and operations."""
    grid, may = np.array(space.widths), _may_follow(space)
    total = 0.0
    for family in families(space):
        ways = np.ones(len(grid))
        for narrowest in reversed(_narrowest(family)[1:]):
            ways = may[:, grid >= narrowest] @ ways[grid >= narrowest]
        total += ways[grid >= _narrowest(family)[0]].sum() * len(space.blocks) ** len(family.blocks)
    return int(total)


def build_errors(space: Space) -> list[str]:
    """Why designs with some numbers of layers, some kernels or some stems cannot be built."""
    reasons: list[str] = []
    stems = itertools.product(
        space.layers, space.stem, space.stem_kernels, space.stem_strides, space.transition
    )
    for depth, stem, size, stride, transition in stems:
        for conv, skip, early in itertools.product(
            space.conv_kernels, space.skip_kernels, space.preactivation
        ):
            variant = Variant(
                (1,) * depth, (1,) * depth, (conv,), (skip,), preactivation=early, stem=stem,
                stem_kernel=size, stem_stride=stride, transition=transition,
            )  # fmt: skip
            reasons += [text for _, text in fitting.build_errors(variant, space.side)]
    return list(dict.fromkeys(reasons))


def _widths(family: Variant, space: Space) -> Iterator[Choices]:
    """Every choice of widths, in portions."""  # designs x layers
    grid, (first, *others) = np.array(space.widths), _narrowest(family)
    portions = iter([np.flatnonzero(grid >= first)[:, None]])
    for narrowest in others:
        portions = _wider(portions, _may_follow(space) & (grid >= narrowest))
    for portion in portions:
        yield grid[portion]


def _wider(portions: Iterator[Choices], may: npt.NDArray[np.bool_]) -> Iterator[Choices]:
    """One more layer: every width that `may` follow the last one, as indices."""
    for portion in portions:
        for some in _slices(len(portion), len(may)):
            row, width = np.nonzero(may[portion[some, -1]])
            yield np.column_stack([portion[some][row], width])


def _within(family: Variant, widths: Choices, space: Space) -> Iterator[Designs]:
    """The designs of these widths that are within the limits, in portions."""
    layers, others = len(family.blocks), budget.depth(family) - 2 * sum(family.blocks)
    ones = np.ones((1, layers), np.int64)
    single = _costs(family, ones[0], widths, space)
    more = [_costs(family, row, widths, space) - single for row in ones + np.eye(layers, dtype=int)]
    each = np.stack(more, axis=-1)  # costs x designs x layers: of each block of a layer
    none = single - each.sum(axis=-1)  # costs x designs: of all but the blocks
    least = none[0] + min(space.blocks) * each[0].sum(axis=-1)
    order = np.argsort(least, kind="stable")
    order = order[least[order] <= space.budget]
    for start in _slices(len(space.blocks) ** layers):
        blocks = _blocks(space.blocks, layers, start)
        depth = 2 * blocks.sum(axis=1) + others
        blocks = blocks[(depth >= space.depths[0]) & (depth <= space.depths[1])]
        for portion in _slices(len(order), len(blocks)):
            rows = order[portion]
            cheapest = none[0, rows].min() + blocks @ each[0, rows].min(axis=0)
            few = blocks[cheapest <= space.budget]
            totals = none[0, rows, None] + each[0, rows] @ few.T
            width, block = np.nonzero((space.least <= totals) & (totals <= space.budget))
            row, chosen = rows[width], few[block]
            costs = none[:, row] + np.einsum("cdl,dl->cd", each[:, row], chosen)
            parameters, forward, training, values = costs
            depth = 2 * chosen.sum(axis=1) + others
            fits = forward <= space.max_flops
            if fits.any():
                yield Designs(
                    family, widths[row], chosen, parameters, forward, training, depth, values
                )[fits]


def _costs(family: Variant, blocks: Choices, widths: Choices, space: Space) -> Counts:
    """Parameters, FLOPs forward and in training, and values, of each row of widths.

    The closed form is plain arithmetic: it counts all rows at once as it counts one network.
    """
    lists: Any = {"blocks": tuple(blocks.tolist()), "widths": tuple(widths.T)}
    variant = dataclasses.replace(family, **lists)
    return np.array(
        [
            budget.parameters(variant, space.classes, side=space.side).total,
            *budget.flops(variant, space.classes, side=space.side),
            budget.values(variant, space.side),
        ]
    )


def _blocks(choices: tuple[int, ...], layers: int, portion: slice) -> Choices:
    """A slice of all choices of blocks."""  # designs x layers
    places = np.unravel_index(np.arange(portion.start, portion.stop), (len(choices),) * layers)
    return np.array(choices)[np.stack(places, axis=1)]


def _narrowest(family: Variant) -> list[int]:
    """How wide each layer must be so that a squeeze leaves a channel."""
    stem = 0 if family.stem == "whiten" else 1  # one of fixed width can be squeezed, or not
    squeezed = {"none": 0, "stem": stem, "block": len(family.blocks)}[family.se]
    return [family.se_reduction] * squeezed + [1] * (len(family.blocks) - squeezed)


def _may_follow(space: Space) -> npt.NDArray[np.bool_]:
    """Which widths (columns) may follow which (rows)."""
    after, before = np.array(space.widths), np.array(space.widths)[:, None]
    may: npt.NDArray[np.bool_] = (space.growth[0] * before <= after) & (
        after <= space.growth[1] * before
    )
    return may


def _kernels(choices: tuple[int, ...], layers: int, mixed: bool) -> Iterator[tuple[int, ...]]:
    if mixed:
        yield from itertools.product(choices, repeat=layers)
    else:
        yield from ((kernel,) * layers for kernel in choices)


def _slices(count: int, each: int = 1) -> Iterator[slice]:
    """Slices of `count` rows that give at most `CHUNK` designs, where a row gives `each`."""
    size = max(1, CHUNK // max(1, each))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
