"""The designs that no other one beats, out of millions, in the memory of a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.explore import designs, pareto
from engine.explore.designs import Designs, Space
from engine.model import budget
from engine.model.variants import Variant

Predict = Callable[[npt.ArrayLike, npt.ArrayLike], npt.NDArray[np.float64]]

OBJECTIVES = ("parameters", "flops", "depth", "speed")
WAYS = {"more": -1, "less": 1}
POOL = 500_000  # designs that are compared at a time


class Objective(NamedTuple):
    """What is compared, and which way is better."""

    name: str  # of OBJECTIVES
    way: str  # of WAYS


class Design(NamedTuple):
    """A network with its costs."""

    variant: Variant
    parameters: int
    forward: int  # FLOPs per image
    training: int  # the same, forward and backward
    depth: int
    speed: float  # images/s, or relative


class SearchResult(NamedTuple):
    """The Pareto set of a search."""

    designs: list[Design]
    within: int  # designs within the limits
    grid: int  # designs of the space, whatever they cost
    seconds: float


def search(space: Space, objectives: Sequence[Objective], predict: Predict) -> SearchResult:
    """Compare all designs of `space`; of equal ones all stay."""
    began = time.perf_counter()
    pool: list[tuple[Designs, pareto.Costs]] = []
    within = pooled = 0
    for portion in designs.designs(space):
        within += len(portion)
        pooled += len(portion)
        pool.append((portion, _costs(portion, objectives, predict)))
        if pooled > POOL:
            pool = _select(pool, pareto.thinned)
            pooled = sum(len(portion) for portion, _ in pool)
    pool = _select(pool, pareto.front)
    unbeaten = [design for portion, _ in pool for design in _designs(portion, predict)]
    return SearchResult(unbeaten, within, designs.size(space), time.perf_counter() - began)


def design_of(variant: Variant, space: Space, predict: Predict) -> Design:
    """Any network with its costs."""
    total = budget.parameters(variant, space.classes, side=space.side).total
    forward, training = budget.flops(variant, space.classes, side=space.side)
    speed = float(predict(training, budget.values(variant, space.side)))
    return Design(variant, total, forward, training, budget.depth(variant), speed)


def beaten_by(
    design: Design, others: Sequence[Design], objectives: Sequence[Objective]
) -> list[Design]:
    """Those of `others` that are as good in every objective and better in one."""
    fields = ["forward" if name == "flops" else name for name, _ in objectives]
    signs = [WAYS[way] for _, way in objectives]

    def costs(designs: Sequence[Design]) -> pareto.Costs:
        table = [[getattr(each, field) for field in fields] for each in designs]
        return np.array(table, np.float64).reshape(-1, len(fields)) * signs

    own, their = costs([design])[0], costs(others)
    better = ((their <= own) & ~np.isclose(their, own, rtol=1e-12, atol=0)).any(axis=1)
    beating = (their <= own).all(axis=1) & better
    return [other for other, beats in zip(others, beating, strict=True) if beats]


def _costs(portion: Designs, objectives: Sequence[Objective], predict: Predict) -> pareto.Costs:
    columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]] = {
        "parameters": portion.parameters,
        "depth": portion.depth,
        "flops": portion.forward,
    }
    if any(objective.name == "speed" for objective in objectives):
        columns["speed"] = predict(portion.training, portion.values)
    return np.stack(
        [WAYS[way] * columns[name].astype(np.float64) for name, way in objectives], axis=1
    )


def _select(
    pool: list[tuple[Designs, pareto.Costs]], choose: Callable[[pareto.Costs], pareto.Indices]
) -> list[tuple[Designs, pareto.Costs]]:
    """The pooled designs whose index `choose` returns."""
    if not pool:
        return []
    indices = choose(np.concatenate([costs for _, costs in pool]))
    starts = np.cumsum([0, *(len(portion) for portion, _ in pool)])
    selected = []
    for (portion, costs), start, stop in zip(pool, starts[:-1], starts[1:], strict=True):
        low, high = np.searchsorted(indices, [start, stop])
        if low < high:
            own = indices[low:high] - start
            selected.append((portion[own], costs[own]))
    return selected


def _designs(portion: Designs, predict: Predict) -> list[Design]:
    speeds = predict(portion.training, portion.values)
    return [
        Design(
            portion.variant(index), int(portion.parameters[index]), int(portion.forward[index]),
            int(portion.training[index]), int(portion.depth[index]), float(speeds[index]),
        )
        for index in range(len(portion))
    ]  # fmt: skip
