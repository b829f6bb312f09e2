"""Results: figures, what is missing and why, goals, the shared parts of a page, the JSON."""

import json
import math
from subprocess import TimeoutExpired

import pytest

from benchmarks.measuring import text
from benchmarks.measuring.benchmark import Benchmark
from benchmarks.measuring.goals import Goal, judged
from benchmarks.measuring.results import Results, Unavailable
from benchmarks.measuring.turns import Pairs, Spread
from engine.errors import RunFailed

CONDITIONS = {
    "cpu": "C", "threads": 2, "cores": 2, "governor": None, "load_before": 0.0, "load_after": 0.0,
    "versions": {"torch": "2", "python": "3"}, "quick": True,
}  # fmt: skip


class Tiny(Benchmark):
    """A benchmark with one figure that stays and one goal."""

    def goals(self):
        return judged([Goal("T1", "the speed", "speed", 2.0, True, "x")], self.results)

    def as_json(self):
        return self.results.as_json({"speed": self.results.value("speed")})


@pytest.fixture
def bench(tmp_path):
    return Tiny(
        device="cpu", threads=1, batch_size=4, pairs=2, quick=True,
        target=tmp_path / "results.json", say=lambda text: None,
    )  # fmt: skip


def test_a_number_that_is_not_finite_is_missing_with_a_reason():
    results = Results()
    results.figure("ratio", math.nan)
    results.figure("tflops", math.inf, "resnet453")
    assert results.missing == {"ratio": "measured as nan", "tflops resnet453": "measured as inf"}
    assert results.value("ratio") is None and results.value("tflops", "resnet453") is None


def test_keys_that_stay_are_null_where_missing():
    results = Results()
    results.figure("b", 0.0)
    results.figure("c", 1.0)
    content = results.as_json({"a": None, "b": results.value("b")})
    assert (content["a"], content["b"], content["figures"]) == (None, 0.0, {"c": 1.0})
    assert content["missing"] == {"a": "not measured"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("no such mode"), "no such mode"),
        (RunFailed("no memory\nfor it"), "no memory"),
        (RuntimeError("no kernel"), "no kernel"),
        (TimeoutExpired("it", 3), "Command 'it' timed out after 3 seconds"),
    ],
)
def test_a_section_that_fails_is_missing_with_its_reason_and_the_rest_goes_on(bench, error, reason):
    def section(bench):
        """Measure some of it."""
        bench.results.figure("measured", 1.0)
        raise error

    bench.run("section", section, "measured", "other")
    bench.run("nameless", section)
    assert bench.results.missing == {"other": reason, "nameless": reason}
    assert bench.results.figures == {"measured": 1.0}


def test_a_bug_in_a_section_is_not_hidden(bench):
    with pytest.raises(KeyError), bench.missing_if_it_fails("a"):
        raise KeyError("typo")


def test_what_was_measured_is_written_after_every_section_and_row(bench):
    def section(bench):
        """Measure the speed."""
        bench.row("speeds", {"batch": 4, "speed": 3.0})
        assert json.loads(bench.target.read_text())["details"]["tables"]["speeds"]
        bench.results.figure("speed", 3.0)

    bench.run("speed", section)
    content = json.loads(bench.target.read_text())
    assert content["speed"] == 3.0 and content["goals"][0]["verdict"] == "met"
    assert content["conditions"].keys() >= {
        "cpu", "cores", "versions", "threads", "load_before", "load_after", "batch_size", "pairs"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(1.0, True, "met"), (0.9, True, "missed"), (1.0, False, "met"), (1.1, False, "missed"),
     (None, True, "not measured")],
)  # fmt: skip
def test_a_goal_is_judged_by_what_was_measured(value, at_least, verdict):
    results = Results() if value is None else Results({"x": value})
    (row,) = judged([Goal("L0", "x", "x", 1.0, at_least)], results)
    assert row["verdict"] == verdict


def test_a_goal_of_one_network_is_judged_by_the_figure_of_that_network():
    results = Results()
    results.figure("ratio", 3.0, "a")
    results.missing["ratio b"] = "no memory"
    goals = [Goal("S1", "speed", "ratio", 2.0, True, "x", variant) for variant in ("a", "b")]
    rows = judged(goals, results)
    assert [row["key"] for row in rows] == ["ratio a", "ratio b"]
    assert [row["verdict"] for row in rows] == ["met", "not measured"]
    assert [row["reason"] for row in rows] == [None, "no memory"]
    assert rows[0]["wanted"] == "at least 2x"


def test_a_page_shows_conditions_rates_ratios_tables_goals_and_what_is_missing():
    results = Results()
    first, second = Spread((1600.0, 1800.0)), Spread((2.0, 2.0))
    results.rate("ours", "bf16", first)
    results.pairs["ours / theirs"] = Pairs(first, second)
    results.missing["tflops"] = "no peak"
    results.details["tables"] = {"by batch": [{"batch": 4, "rate": 123.456, "idle": None}]}
    page = text.page(
        text.conditions(CONDITIONS, "batch 4"),
        "",
        text.rates(results),
        text.ratios(results),
        *text.tables(results),
        text.missing(results),
    )
    for words in ("batch 4", "torch 2, python 3", "governor unknown", "indicative",
                  "ours       1,700  1,600  1,800  bf16", "ours / theirs", "850x", "by batch\n",
                  "4      123.5     -", "tflops        no peak"):  # fmt: skip
        assert words in page, words
    assert "\n\n\n" not in page
