"""Verdicts are right: on runs that give what is reported, and on runs drawn around the truth."""

from __future__ import annotations

import collections
import math
import random
from pathlib import Path

import pytest

from benchmarks.records import plans, runs
from benchmarks.records.plans import SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report.experiments import ExperimentResult, experiment_results
from benchmarks.report.tally import headline, tallies
from tests.support import reproductions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reproduction")
    reproductions.reproduce(root)
    return root


@pytest.fixture(scope="module")
def reproduction(folder: Path) -> tuple[list[RunRecord], SweepPlans]:
    return runs.read(folder), plans.read(folder)


@pytest.fixture(scope="module")
def results(reproduction: tuple[list[RunRecord], SweepPlans]) -> list[ExperimentResult]:
    return experiment_results(*reproduction)


def test_a_perfect_reproduction_of_every_report_agrees_with_every_reported_value(
    results: list[ExperimentResult],
) -> None:
    exact = []
    for result in results:
        value = result.reported
        if value is None:
            assert result.verdict in ("nothing reported", "not run")
        elif value.run == "other":
            assert result.verdict == "not judged"
        else:
            right = "equal" if value.measure == "parameters" else "agrees within noise"
            assert result.verdict == right, (result.plan.name, value, result.basis)
            assert result.difference is not None
            exact.append(abs(result.difference) < 1e-6)
    assert sum(exact) > len(exact) / 2  # elsewhere a run has several reported values of one thing


@pytest.mark.parametrize("rounds", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_runs_around_the_truth_are_rarely_called_higher_or_lower(
    rounds: int, reproduction: tuple[list[RunRecord], SweepPlans]
) -> None:
    """The reports' runs and ours are drawn alike: all disagreement is noise, stated as 5 %."""
    draw = random.Random(0)
    judged, wrong = 0, collections.Counter[str]()
    for _ in range(rounds):
        for result in experiment_results(*reproductions.drawn(*reproduction, draw)):
            if result.reported is None or result.reported.measure == "parameters":
                continue
            assert result.verdict in ("agrees within noise", "higher", "lower")
            judged += 1
            wrong[result.reported.about] += result.verdict != "agrees within noise"
    assert judged > 150 * rounds
    most = 0.05 * judged + 3 * math.sqrt(0.05 * 0.95 * judged)
    assert wrong.total() <= most, wrong


def test_a_run_that_is_clearly_off_is_found(
    reproduction: tuple[list[RunRecord], SweepPlans],
) -> None:
    records, planned = reproduction
    for by, verdict in ((-0.02, "lower"), (0.02, "higher")):
        moved = [reproductions.moved(run, {"test_accuracy": by}) for run in records]
        for result in experiment_results(moved, planned):
            value = result.reported
            if value and value.run == "planned" and value.measure == "test_accuracy":
                exact = value.read == "printed" and value.value > 85 and value.value != 95
                assert not exact or result.verdict == verdict, (result.plan.name, value)


def test_each_reported_value_is_counted_once_and_the_reports_own_apart(
    results: list[ExperimentResult],
) -> None:
    counts = tallies(results)
    assert list(counts) == ["the ancestor's logs", "report", "parameters", "its code's logs"]
    rows = sum(result.reported is not None for result in results)
    different = sum(tally.verdicts.total() for tally in counts.values())
    assert different < rows  # 1.6 repeats rows of table 1, 0.11 runs of 0.6
    assert all(tally.confirmed == tally.judged for tally in counts.values())
    own = counts["report"]
    assert own.verdicts["not judged"] == 2  # of a hidden set, and of another recipe
    number, details = headline(results) or ("", "")
    assert number == f"{own.judged} of {own.judged}"
    assert details.startswith("0 measured higher, 0 lower; 2 not judged; the ancestor's logs: ")
