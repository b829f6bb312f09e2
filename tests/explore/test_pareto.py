"""Pareto fronts, against a comparison of every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.explore import pareto, speed
from engine.explore.designs import Space, designs
from engine.explore.search import Objective, beaten_by, design_of, search
from engine.model import VARIANTS


def every_pair(costs: pareto.Costs) -> list[int]:
    return [
        index
        for index, one in enumerate(costs)
        if not any((other <= one).all() and (other < one).any() for other in costs)
    ]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 120),
    objectives=st.integers(1, 5),
    values=st.sampled_from([2, 4, 30, 10**6]),
    real=st.booleans(),
    bins=st.sampled_from([2, 5, 64]),
)
def test_the_front_is_what_no_other_row_dominates(
    seed: int, rows: int, objectives: int, values: int, real: bool, bins: int
) -> None:
    random = np.random.default_rng(seed)
    costs = random.integers(0, values, (rows, objectives)).astype(np.float64)
    if real:
        costs += random.random(costs.shape).round(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "SAMPLE", 8)  # so that few rows are thinned as many are
        patch.setattr(pareto, "BINS", dict.fromkeys((2, 3, 4), bins))
        assert pareto.front(costs).tolist() == every_pair(costs)
        assert set(every_pair(costs)) <= set(pareto.thinned(costs).tolist())


def test_the_front_of_many_rows_is_right_at_any_scale() -> None:
    random = np.random.default_rng(0)
    costs = random.random((50_000, 3)) * [1, 1e9, 1e-9]
    result = pareto.front(costs)
    assert 20 < len(result) < 2_000
    beaten = np.zeros(len(costs), bool)
    for row in result:
        beaten |= pareto.dominated(costs, costs[row])
    assert np.flatnonzero(~beaten).tolist() == result.tolist()


@pytest.mark.parametrize("ways", [("more", "less"), ("less", "more")])
def test_a_search_lists_every_design_that_none_beats(ways: tuple[str, str]) -> None:
    space = Space(budget=200_000, layers=(2, 3), widths=(16, 24, 32), blocks=(1, 2))
    predict = speed.relative()
    result = search(space, [Objective("parameters", ways[0]), Objective("flops", ways[1])], predict)
    signs = [-1 if way == "more" else 1 for way in ways]
    rows = [
        (int(portion.parameters[i]), int(portion.forward[i]), portion.variant(i))
        for portion in designs(space)
        for i in range(len(portion))
    ]
    assert result.within == len(rows) > 200
    costs = np.array([row[:2] for row in rows], np.float64) * signs
    assert {row.variant for row in result.designs} == {rows[i][2] for i in every_pair(costs)}


def test_a_network_is_beaten_by_designs_as_good_everywhere_and_better_once() -> None:
    ways = {"parameters": "more", "flops": "less", "speed": "more"}
    objectives, predict = [Objective(*pair) for pair in ways.items()], speed.relative()
    wide, narrow = (design_of(VARIANTS[f"resnet4{x}3"], Space(), predict) for x in (5, 4))
    assert beaten_by(wide, [wide], objectives) == []
    assert beaten_by(wide, [narrow], objectives) == []  # fewer parameters
    cheaper = wide._replace(forward=wide.forward - 1)
    assert beaten_by(wide, [narrow, cheaper], objectives) == [cheaper]
    assert beaten_by(cheaper, [wide], objectives) == []
