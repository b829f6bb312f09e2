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


class Row(NamedTuple):
    """One design that is not beaten."""

    variant: Variant
    parameters: int
    forward: int  # operations an image
    training: int
    depth: int
    speed: float  # images a second, or relative


class Found(NamedTuple):
    """What a search came to."""

    rows: list[Row]
    within: int  # designs within the limits
    grid: int  # designs of the space, whatever they cost
    seconds: float


def search(space: Space, objectives: Sequence[Objective], predict: Predict) -> Found:
    """Compare all designs of `space`; of equals all stay."""
    began = time.perf_counter()
    pool: list[tuple[Designs, pareto.Costs]] = []
    within = pooled = 0
    for portion in designs.designs(space):
        within += len(portion)
        pooled += len(portion)
        pool.append((portion, _costs(portion, objectives, predict)))
        if pooled > POOL:
            pool = _kept(pool, pareto.thinned)
            pooled = sum(len(portion) for portion, _ in pool)
    pool = _kept(pool, pareto.front)
    rows = [row for portion, _ in pool for row in _rows(portion, predict)]
    return Found(rows, within, designs.size(space), time.perf_counter() - began)


def row_of(variant: Variant, space: Space, predict: Predict) -> Row:
    """Any network, with what is compared."""
    total = budget.parameters(variant, space.classes, side=space.side).total
    forward, training = budget.flops(variant, space.classes, side=space.side)
    speed = float(predict(training, budget.values(variant, space.side)))
    return Row(variant, total, forward, training, budget.depth(variant), speed)


def beaten_by(row: Row, others: Sequence[Row], objectives: Sequence[Objective]) -> list[Row]:
    """Those of `others` that are as good in every objective and better in one."""
    own, costs = _of_rows([row], objectives)[0], _of_rows(others, objectives)
    better = ((costs <= own) & ~np.isclose(costs, own, rtol=1e-12, atol=0)).any(axis=1)
    beating = (costs <= own).all(axis=1) & better
    return [other for other, beats in zip(others, beating, strict=True) if beats]


def _of_rows(rows: Sequence[Row], objectives: Sequence[Objective]) -> pareto.Costs:
    fields = {"flops": "forward"}
    return np.array(
        [[WAYS[way] * getattr(row, fields.get(name, name)) for name, way in objectives]
         for row in rows], np.float64,
    ).reshape(len(rows), len(objectives))  # fmt: skip


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


def _kept(
    pool: list[tuple[Designs, pareto.Costs]], choose: Callable[[pareto.Costs], pareto.Indices]
) -> list[tuple[Designs, pareto.Costs]]:
    """What `choose` leaves of all that is pooled."""
    if not pool:
        return []
    chosen = choose(np.concatenate([costs for _, costs in pool]))
    starts = np.cumsum([0, *(len(portion) for portion, _ in pool)])
    kept = []
    for (portion, costs), start, stop in zip(pool, starts[:-1], starts[1:], strict=True):
        low, high = np.searchsorted(chosen, [start, stop])
        if low < high:
            own = chosen[low:high] - start
            kept.append((portion[own], costs[own]))
    return kept


def _rows(portion: Designs, predict: Predict) -> list[Row]:
    speeds = predict(portion.training, portion.values)
    return [
        Row(
            portion.variant(index), int(portion.parameters[index]), int(portion.forward[index]),
            int(portion.training[index]), int(portion.depth[index]), float(speeds[index]),
        )
        for index in range(len(portion))
    ]  # fmt: skip
