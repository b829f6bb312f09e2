"""Means, standard deviations and intervals equal scipy's and printed tables."""

from __future__ import annotations

import math
import random

import pytest

from engine.statistics import next_value, quantile, summary, two_sided_tail, welch
from tests.support.processes import python, succeed

# R. A. Fisher's table of t, two-sided 95 %.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 120: 1.980}
DEGREES = (0.5, 1.0, 1.7, 2.0, 3.0, 4.2, 7.0, 10.5, 29.0, 99.0, 1234.5, 1e6)


@pytest.mark.parametrize(("degrees", "expected"), TABLE.items())
def test_quantiles_are_those_of_the_printed_table(degrees: float, expected: float) -> None:
    assert round(quantile(0.95, degrees), 3) == expected


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.9999])
def test_quantiles_and_tails_are_scipys(degrees: float, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert quantile(confidence, degrees) == pytest.approx(expected, rel=1e-8)
    for t in (0.01, 0.3, 1.0, 2.5, 12.0, 80.0):
        assert two_sided_tail(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-7)


def test_many_degrees_of_freedom_are_the_normal_distribution() -> None:
    assert quantile(0.95, 1e9) == pytest.approx(1.959963984540054, rel=1e-12)
    assert quantile(0.95, 0.99e8) == pytest.approx(1.959963984540054, rel=1e-7)


def samples(seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(95.0, 0.2 + seed / 10) for _ in range(draw.randint(2, 12))]


@pytest.mark.parametrize("seed", range(12))
def test_a_summary_is_scipys(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = samples(seed)
    result = summary(values)
    low, high = stats.t.interval(0.95, len(values) - 1, stats.tmean(values), stats.sem(values))
    assert (result.n, result.mean) == (len(values), pytest.approx(stats.tmean(values)))
    assert result.std == pytest.approx(stats.tstd(values))
    assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("seed", range(12))
def test_a_difference_is_scipys_welch_test(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = samples(seed), samples(seed + 100)
    test = stats.ttest_ind(first, second, equal_var=False)
    interval = test.confidence_interval(0.95)
    result = welch(first, second)
    assert result.difference == pytest.approx(stats.tmean(first) - stats.tmean(second))
    assert result.degrees == pytest.approx(test.df)
    assert (result.low, result.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    decided = {True: "higher", False: "lower"}[bool(test.statistic > 0)]
    assert result.verdict == (decided if test.pvalue < 0.05 else "within noise")


def test_a_worked_example_by_hand() -> None:
    result = summary([94.0, 95.0, 96.0])
    assert (result.n, result.mean, result.std) == (3, 95.0, 1.0)
    assert result.high == pytest.approx(95 + 4.302652729911275 / math.sqrt(3))


def test_one_value_has_no_std_no_interval_and_no_verdict() -> None:
    assert summary([94.5]) == type(summary([1]))(1, 94.5, None, None, None)
    assert next_value([94.5]) is None
    result = welch([94.5], [90.0, 91.0])
    assert (result.difference, result.low, result.degrees) == (4.0, None, None)
    assert result.verdict == "cannot tell"


def test_samples_without_spread_differ_exactly() -> None:
    result = welch([2.0, 2.0], [1.0, 1.0, 1.0])
    assert (result.difference, result.low, result.high) == (1.0, 1.0, 1.0)
    assert result.verdict == "higher"
    assert welch([1.0, 1.0], [1.0, 1.0]).verdict == "within noise"


def test_the_interval_of_the_next_value_is_wider_than_that_of_the_mean() -> None:
    values = [94.9, 95.1, 95.0, 95.2]
    result, interval = summary(values), next_value(values)
    assert result.low is not None and result.std is not None and interval is not None
    half = result.mean - result.low
    assert result.mean - interval[0] == pytest.approx(half * math.sqrt(len(values) + 1))


def test_tiny_spreads_do_not_underflow() -> None:
    result = welch([1e-200, 2e-200], [1e-200, 3e-200])
    assert result.degrees == pytest.approx(25 / 17)  # as with 1, 2 and 1, 3
    assert result.verdict == "within noise"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(wrong: float) -> None:
    for call in (summary, next_value, lambda values: welch([1.0, 2.0], values)):
        with pytest.raises(ValueError, match="is not finite: 1 of 3"):
            call([1.0, wrong, 2.0])


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        summary([])
    for confidence, degrees in ((0.0, 3), (1.0, 3), (0.95, 0)):
        with pytest.raises(ValueError, match="expected 0 < confidence < 1"):
            quantile(confidence, degrees)


def test_scipy_is_not_needed_at_run_time() -> None:
    code = "import sys, engine.statistics; sys.exit('scipy' in sys.modules)"
    succeed(*python("-c", code))
