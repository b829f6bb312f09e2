"""Turns of contenders: pairs, their ratios, and the fastest of several."""

from benchmarks.measuring import turns


class Fixed:
    """A contender whose rates are known."""

    def __init__(self, name, rates):
        self.name, self.setting = name, "as it is"
        self.rates = iter(rates)

    def __call__(self):
        return next(self.rates)


def test_a_ratio_is_taken_within_each_pair_and_its_median_is_the_result():
    first, second = iter([10.0, 30.0, 8.0]), iter([5.0, 3.0, 2.0])
    order = []

    def turn(name, rates):
        order.append(name)
        return next(rates)

    pairs = turns.interleave(lambda: turn("A", first), lambda: turn("B", second), 3)
    assert order == ["A", "B"] * 3
    assert pairs.ratios.values == (2.0, 10.0, 4.0)
    assert pairs.ratios.median == 4.0  # not 10 / 3, the ratio of the medians
    assert pairs.ratios.as_json() == {
        "median": 4.0, "min": 2.0, "max": 10.0, "values": [2.0, 10.0, 4.0]
    }  # fmt: skip


def test_the_fastest_setting_is_that_of_the_best_median():
    slow, fast = Fixed("slow", [9.0, 1.0, 1.0]), Fixed("fast", [2.0, 2.0, 2.0])
    best, rates = turns.fastest([slow, fast], 3)
    assert best is fast
    assert [spread.median for spread in rates.values()] == [1.0, 2.0]
