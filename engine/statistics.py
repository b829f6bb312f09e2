"""Mean, standard deviation, confidence intervals and Welch's comparison of two samples.

The quantiles of Student's t are computed here, to about ten digits, so that no scipy is needed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95
_NORMAL_FROM = 1e8  # degrees of freedom, from which it equals the normal distribution to ten digits


@dataclass(frozen=True)
class Summary:
    """Several measurements of one quantity; a single one has no std and no interval."""

    n: int
    mean: float
    std: float | None  # of the sample (n - 1)
    low: float | None  # 95 % confidence interval of the mean, by Student's t
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The difference of two means with its interval."""

    difference: float  # mean of the first less mean of the second
    low: float | None  # 95 % interval by Welch; None where a sample has but one value
    high: float | None
    degrees: float | None  # of freedom, by Welch and Satterthwaite

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `within noise`, or `cannot tell` where a sample has one value."""
        if self.low is None or self.high is None:
            return "cannot tell"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "within noise"


def summary(values: Iterable[float]) -> Summary:
    """Mean, standard deviation and the mean's 95 % interval; at least one finite value."""
    sample = _checked(values)
    mean = statistics.fmean(sample)
    if len(sample) < 2:
        return Summary(len(sample), mean, None, None, None)
    std = statistics.stdev(sample)
    half = quantile(CONFIDENCE, len(sample) - 1) * std / math.sqrt(len(sample))
    return Summary(len(sample), mean, std, mean - half, mean + half)


def welch(first: Iterable[float], second: Iterable[float]) -> Difference:
    """The difference of two means, without assuming equal variances."""
    samples = _checked(first), _checked(second)
    difference = statistics.fmean(samples[0]) - statistics.fmean(samples[1])
    if min(len(sample) for sample in samples) < 2:
        return Difference(difference, None, None, None)
    errors = [statistics.stdev(sample) / math.sqrt(len(sample)) for sample in samples]
    error = math.hypot(*errors)
    if error == 0:  # no spread at all: the difference is what it is
        return Difference(difference, difference, difference, float(sum(map(len, samples)) - 2))
    both = zip(errors, samples, strict=True)
    degrees = 1 / sum((part / error) ** 4 / (len(sample) - 1) for part, sample in both)
    half = quantile(CONFIDENCE, degrees) * error
    return Difference(difference, difference - half, difference + half, degrees)


def next_value(values: Iterable[float]) -> tuple[float, float] | None:
    """The 95 % prediction interval of one more value; None for a single value.

    Wider than the interval of the mean: a reported figure is one run, with a run's own noise.
    """
    sample = summary(values)
    if sample.std is None:
        return None
    half = quantile(CONFIDENCE, sample.n - 1) * sample.std * math.sqrt(1 + 1 / sample.n)
    return sample.mean - half, sample.mean + half


@lru_cache(maxsize=1024)
def quantile(confidence: float, degrees: float) -> float:
    """The two-sided quantile of Student's t: -t to t holds the share `confidence`."""
    if not (0 < confidence < 1 and degrees > 0):
        raise ValueError(f"expected 0 < confidence < 1 and degrees > 0: {confidence}, {degrees}")
    if degrees >= _NORMAL_FROM:
        return statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    high = 1.0
    while two_sided_tail(high, degrees) > 1 - confidence:
        high *= 2
    low = 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (
            (middle, high) if two_sided_tail(middle, degrees) > 1 - confidence else (low, middle)
        )
    return high


def two_sided_tail(t: float, degrees: float) -> float:
    """The probability of Student's t below -t or above t."""
    square = t * t
    return _beta(degrees / (degrees + square), square / (degrees + square), degrees / 2, 0.5)


def _beta(x: float, rest: float, a: float, b: float) -> float:
    """The regularised incomplete beta function at `x`, where `rest` is 1 - x without its rounding.

    Lentz's continued fraction (Numerical Recipes, 6.4), on the side where it converges quickly.
    """
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logarithm + a * math.log(x) + b * math.log(rest))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(rest, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    value, step, m = d, 0.0, 0
    while abs(step - 1) > 1e-15 and m < 100_000:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for factor in (even, odd):
            d = 1 / _not_zero(1 + factor * d, tiny)
            c = _not_zero(1 + factor / c, tiny)
            step *= c * d
        value *= step
    return value


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _checked(values: Iterable[float]) -> Sequence[float]:
    sample = [float(value) for value in values]
    wrong = [value for value in sample if not math.isfinite(value)]
    if wrong:
        raise ValueError(f"{wrong[0]} is not finite: {len(wrong)} of {len(sample)} values")
    if not sample:
        raise ValueError("no values to summarise")
    return sample
