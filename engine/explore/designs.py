"""Every design of the family within a budget, counted in closed form, a million per second.

The cost of a design is a sum over its layers. So each layer is counted once for every choice of
widths and blocks (by `budget`), and designs grow layer by layer as sums of those; one that cannot
end within the limits is dropped at once.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.model import budget, fitting
from engine.model.variants import Layer, Variant

Counts = npt.NDArray[np.int64]
Choices = npt.NDArray[np.int64]

PARAMETERS, ADDS, VALUES = range(3)  # rows of a table of costs
CHUNK = 400_000  # designs per portion, so that memory does not grow with their number
UNLIMITED = 2**62


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
    """All designs of `space` that can be built, in portions."""
    for family in families(space):
        yield from _Growth(family, space).designs()


def families(space: Space) -> Iterator[Variant]:
    """Every choice of all but widths and blocks that can be built."""
    for depth in space.layers:
        kernels = [*_kernels(space.conv_kernels, depth, space.mixed_kernels)]
        skips = [*_kernels(space.skip_kernels, depth - 1, space.mixed_kernels)] or [()]
        singles = itertools.product(
            space.se,
            space.skip if depth > 1 else ("conv",),
            space.preactivation,
            space.stem_kernels,
            space.stem_strides,
        )
        for conv, skip, single in itertools.product(kernels, skips, [*singles]):
            family = Variant(
                (1,) * depth, (space.se_reduction,) * depth, conv, (*skip[:1], *skip) or (1,),
                "global", single[0], space.se_reduction, *single[1:],
            )  # fmt: skip
            if not fitting.build_errors(family, space.side):
                yield family


def size(space: Space) -> int:
    """How many designs `space` holds, whatever their parameters and operations."""
    may = np.array([_grows(before, space.widths, space.growth) for before in space.widths])
    grid = np.array(space.widths)
    total = 0.0
    for family in families(space):
        ways = np.ones(len(grid))
        for narrowest in reversed(_narrowest(family)[1:]):
            ways = may[:, grid >= narrowest] @ ways[grid >= narrowest]
        total += ways[grid >= _narrowest(family)[0]].sum() * len(space.blocks) ** len(family.blocks)
    return int(total)


def build_errors(space: Space) -> list[str]:
    """Why designs with some numbers of layers, or some kernels, cannot be built."""
    reasons: list[str] = []
    for depth, stride in itertools.product(space.layers, space.stem_strides):
        for conv, skip in itertools.product(space.conv_kernels, space.skip_kernels):
            variant = Variant((1,) * depth, (1,) * depth, (conv,), (skip,), stem_stride=stride)
            reasons += [text for _, text in fitting.build_errors(variant, space.side)]
    return list(dict.fromkeys(reasons))


class _Partial(NamedTuple):
    """Designs up to some layer; or every choice of one more layer, and what it adds."""

    widths: Choices  # designs x layers so far, as indices; of one more layer: designs
    blocks: Choices
    costs: Counts  # parameters, multiply-adds, values


class _Growth:
    """The designs of one family, layer by layer."""

    def __init__(self, family: Variant, space: Space) -> None:
        self.family, self.space = family, space
        rest = Variant(  # of the family, what the costs of a layer depend on beside its own shape
            (1,),
            se="block" if family.se == "block" else "none",
            se_reduction=family.se_reduction,
            preactivation=family.preactivation,
        )
        sides = budget.feature_maps(family, space.side)
        layers = zip(family.layers, sides[1:], _narrowest(family), strict=True)
        self.steps = [_layer_steps(space, rest, *layer) for layer in layers]
        ends = [_ends(family, space, width) for width in space.widths]
        self.start = np.array([start for start, _ in ends], np.int64).T
        self.end = np.array([end for _, end in ends], np.int64).T
        self.stem_adds = np.array(
            [budget.stem_adds(_one_layer(family, width), side=space.side) for width in space.widths]
        )
        self.rest = self._least_rest()

    def designs(self) -> Iterator[Designs]:
        """All within the limits, in portions."""
        stems = np.arange(len(self.space.widths))[:, None]
        partials = iter([_Partial(stems, stems[:, :0], self.start)])
        for layer in range(len(self.steps)):
            partials = self._grown(layer, partials)
        for partial in partials:
            complete = self._finished(partial)
            if len(complete):
                yield complete

    def _grown(self, layer: int, partials: Iterator[_Partial]) -> Iterator[_Partial]:
        for partial in partials:
            for width, steps in enumerate(self.steps[layer]):
                rows = np.flatnonzero(partial.widths[:, -1] == width)
                if len(rows) and len(steps.widths):
                    yield from self._joined(layer, partial, rows, steps)

    def _joined(
        self, layer: int, partial: _Partial, rows: Choices, steps: _Partial
    ) -> Iterator[_Partial]:
        """Every row with every step that leaves enough for the remaining layers."""
        most = (self.space.budget, self.space.max_flops // 2)
        least = steps.costs[:2] + self.rest[layer + 1][:, steps.widths]
        order = np.argsort(least[PARAMETERS], kind="stable")
        room = most[PARAMETERS] - partial.costs[PARAMETERS, rows]
        counts = np.searchsorted(least[PARAMETERS, order], room, side="right")
        before = partial.widths if layer else partial.widths[:, :0]
        for portion in _portions(counts):
            some = counts[portion]
            row = np.repeat(rows[portion], some)
            step = order[np.arange(len(row)) - np.repeat(np.cumsum(some) - some, some)]
            cheap = partial.costs[ADDS, row] + least[ADDS, step] <= most[ADDS]
            row, step = row[cheap], step[cheap]
            yield _Partial(
                np.hstack([before[row], steps.widths[step, None]]),
                np.hstack([partial.blocks[row], steps.blocks[step, None]]),
                partial.costs[:, row] + steps.costs[:, step],
            )

    def _finished(self, partial: _Partial) -> Designs:
        costs = partial.costs + self.end[:, partial.widths[:, -1]]
        depth = 2 * partial.blocks.sum(axis=1) + 2
        low, high = self.space.depths
        kept = (depth >= low) & (depth <= high) & (costs[PARAMETERS] >= self.space.least)
        flops: Any = budget.of_adds(costs[ADDS, kept], self.stem_adds[partial.widths[kept, 0]])
        widths = np.array(self.space.widths)[partial.widths[kept]]
        return Designs(
            self.family, widths, partial.blocks[kept], costs[PARAMETERS, kept],
            flops.forward, flops.training, depth[kept], costs[VALUES, kept],
        )  # fmt: skip

    def _least_rest(self) -> list[Counts]:
        """The fewest parameters and multiply-adds that the layers from each one on, and the
        classifier, must add after each width.
        """
        rest = [self.end[:2]]
        for layer in reversed(self.steps):
            least = np.full_like(rest[0], UNLIMITED // 4)
            for width, steps in enumerate(layer):
                if len(steps.widths):
                    least[:, width] = (steps.costs[:2] + rest[0][:, steps.widths]).min(axis=1)
            rest.insert(0, least)
        return rest


@functools.cache
def _layer_steps(
    space: Space, rest: Variant, layer: Layer, map_side: int, narrowest: int
) -> tuple[_Partial, ...]:
    """The choices of `layer` after each width; the first layer (stride 1) keeps the stem's."""
    first, widths, choices = layer.stride == 1, space.widths, []
    for index, before in enumerate(widths):
        allowed = [index] if first else np.flatnonzero(_grows(before, widths, space.growth))
        after = np.array([other for other in allowed if widths[other] >= narrowest], np.int64)
        width = np.repeat(after, len(space.blocks))
        count: Any = np.tile(np.array(space.blocks, np.int64), len(after))
        # The closed form is plain arithmetic: it counts all choices at once as it counts one.
        wide: Any = before if first else np.array(widths)[width]
        layer = layer._replace(blocks=count, before=before, width=wide)
        costs = (
            budget.layer_parameters(rest, layer),
            budget.layer_adds(rest, layer, map_side),
            budget.layer_values(layer, map_side),
        )
        table = np.array([np.broadcast_to(each, width.shape) for each in costs], np.int64)
        choices.append(_Partial(width, count, table))
    return tuple(choices)


def _narrowest(family: Variant) -> list[int]:
    """How wide each layer must be so that a squeeze leaves a channel."""
    squeezed = {"none": 0, "stem": 1, "block": len(family.blocks)}[family.se]
    return [family.se_reduction] * squeezed + [1] * (len(family.blocks) - squeezed)


def _grows(
    before: int, widths: tuple[int, ...], growth: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Which widths may follow."""
    after = np.array(widths)
    may: npt.NDArray[np.bool_] = (growth[0] * before <= after) & (after <= growth[1] * before)
    return may


def _ends(family: Variant, space: Space, width: int) -> tuple[list[int], list[int]]:
    """The costs before a first layer of `width`, and after such a last layer."""
    net = _one_layer(family, width)
    (layer,) = net.layers
    counted = budget.parameters(net, space.classes, side=space.side)
    map_side = budget.feature_maps(net, space.side)[0]
    adds = budget.flops(net, space.classes, side=space.side).forward // 2
    classifier = width * space.classes
    start = [
        counted.stem + counted.se,
        adds - classifier - budget.layer_adds(net, layer, map_side),
        budget.values(net, space.side) - budget.layer_values(layer, map_side),
    ]
    norm = counted.layers[0] - budget.layer_parameters(net, layer)  # a pre-activation net's last
    return start, [counted.classifier + norm, classifier, 0]


def _one_layer(family: Variant, width: int) -> Variant:
    """A network of one block, with the stem and the head of `family`."""
    lists = {"blocks": (1,), "widths": (width,), "conv_kernels": (1,), "skip_kernels": (1,)}
    return dataclasses.replace(family, **lists)  # type: ignore[arg-type]


def _kernels(choices: tuple[int, ...], layers: int, mixed: bool) -> Iterator[tuple[int, ...]]:
    if mixed:
        yield from itertools.product(choices, repeat=layers)
    else:
        yield from ((kernel,) * layers for kernel in choices)


def _portions(counts: Counts) -> Iterator[slice]:
    """Slices of rows that give at most about `CHUNK` designs each."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        if ends[stop - 1] > before:
            yield slice(start, stop)
        start = stop
