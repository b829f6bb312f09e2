"""The Pareto front of many designs: those to which no other is equal or better everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]  # designs x objectives, less is better
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

BINS = {2: 4096, 3: 1024, 4: 96}  # per binned objective, by the number of objectives
SAMPLE = 8192  # rows that the edges of the bins are taken from


def front(costs: Costs) -> Indices:
    """The rows that none dominates, in ascending order; equals do not dominate each other."""
    left = thinned(costs)
    # A row is dominated only by one that comes before it in this order.
    left = left[np.lexsort(costs[left].T[::-1])]
    members: list[np.int64] = []
    while len(left):
        members.append(left[0])
        left = left[1:][~dominated(costs[left[1:]], costs[left[0]])]
    return np.sort(np.array(members, np.int64))


def dominated(costs: Costs, by: Costs) -> Mask:
    """Which rows are nowhere better and somewhere worse than the row `by`."""
    worse = np.zeros(len(costs), np.bool_)
    nowhere_better = np.ones(len(costs), np.bool_)
    for column, best in zip(costs.T, by, strict=True):
        nowhere_better &= column >= best
        worse |= column > best
    return np.logical_and(nowhere_better, worse)


def thinned(costs: Costs) -> Indices:
    """The rows that none dominates and few others, in ascending order and in one pass.

    All objectives but the last are binned; a table holds the minimum of the last objective over
    all better bins. A row is dominated if a row of better bins also beats its last objective.
    """
    rows, objectives = costs.shape
    if rows <= SAMPLE or objectives not in BINS:
        return np.arange(rows)
    binned = [_bins(column, BINS[objectives]) for column in costs.T[:-1]]
    where = tuple(bins for bins, _ in binned)
    least = np.full([int(bins.max()) + 1 for bins in where], np.inf)
    np.minimum.at(least, where, costs[:, -1])
    for axis, (_, single) in enumerate(binned):
        least = np.minimum.accumulate(least, axis=axis)
        if not single:  # two values of one bin may be in either order: only a lower bin counts
            least = np.roll(least, 1, axis=axis)
            np.moveaxis(least, axis, 0)[0] = np.inf
    others = least[where]
    strict = any(not single for _, single in binned)
    return np.flatnonzero(others > costs[:, -1] if strict else others >= costs[:, -1])


def _bins(column: Costs, most: int) -> tuple[Indices, bool]:
    """The bin of each row, in the order of the values; and whether each bin holds one value."""
    low, high = column.min(), column.max()
    if high - low < most and (whole := np.floor(column)).max() == high and (whole == column).all():
        return (column - low).astype(np.int64), True
    sample = column[:: max(1, len(column) // SAMPLE)]
    edges = np.unique(np.quantile(sample, np.linspace(0, 1, most)))
    return np.searchsorted(edges, column, side="right"), False
