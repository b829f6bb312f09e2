"""Reported against measured: which runs are compared with which value, and the verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import plans, runs
from benchmarks.report.experiments import ExperimentResult, experiment_results
from engine.runs.directory import RunFolder
from tests.support.records import plan_entry, record, reported, write_plan, write_run


def results(root: Path) -> list[ExperimentResult]:
    return experiment_results(runs.read(root), plans.read(root))


def sweep(root: Path, accuracies: list[float], *values: dict[str, Any]) -> list[ExperimentResult]:
    """The results of one variant whose seeds reached `accuracies`."""
    contents = [record(seed=seed, accuracy=each) for seed, each in enumerate(accuracies)]
    for content in contents:
        write_run(root, f"run{content['seed']}", content)
    name = "4.5/resnet453/s"
    entries = [plan_entry(c, f"{name}{c['seed']}", values=values) for c in contents]
    write_plan(root, entries)
    return results(root)


@pytest.mark.parametrize(
    ("accuracies", "value", "verdict"),
    [
        ([0.955, 0.957, 0.956], 95.66, "agrees within noise"),
        ([0.955, 0.957, 0.956], 90.0, "higher"),
        ([0.955, 0.957, 0.956], 99.0, "lower"),
        ([0.956], 95.66, "agrees within noise"),  # by the noise of 10,000 test images
        ([0.956], 94.9, "higher"),
        ([0.956], 96.3, "lower"),
        ([0.956, 0.956], 95.6, "agrees within noise"),
        ([0.9563, 0.9563], 95.6, "agrees within noise"),  # 95.6 may have been 95.63
        ([0.9566, 0.9566], 95.6, "higher"),
    ],
)
def test_the_verdict_compares_the_reported_value_with_one_more_run(
    tmp_path: Path, accuracies: list[float], value: float, verdict: str
) -> None:
    (result,) = sweep(tmp_path, accuracies, reported(value))
    assert result.verdict == verdict
    assert result.last is not None and result.last.n == len(accuracies)
    assert result.difference == pytest.approx(100 * sum(accuracies) / len(accuracies) - value)


def test_a_best_epoch_is_compared_with_a_best_epoch_only(tmp_path: Path) -> None:
    (result,) = sweep(tmp_path, [0.950], reported(95.10, "best"))
    assert result.last is not None and result.as_reported is not None
    assert (result.last.mean, result.as_reported.mean) == (pytest.approx(95.0), pytest.approx(95.1))
    assert result.difference == pytest.approx(0.0)


def test_every_reported_value_has_a_result(tmp_path: Path) -> None:
    listed = sweep(tmp_path, [0.95], reported(94.0), reported(95.0, "moving", "ancestor"))
    assert [result.reported.evidence for result in listed if result.reported] == [
        "report",
        "ancestor",
    ]


def test_over_budget_and_misprints_are_flagged(tmp_path: Path) -> None:
    content = record("resnet224", accuracy=0.9546)
    write_run(tmp_path, "run", content)
    notes = ["5.4M with [2,2,2,2] is a misprint"]
    entry = plan_entry(content, "4.2/resnet224/s0", values=[reported(95.46)], notes=notes)
    write_plan(tmp_path, [entry])
    (result,) = results(tmp_path)
    assert (result.verdict, result.flags) == ("agrees within noise", ("over budget", "misprint"))
    assert result.notes == tuple(notes)


def test_missing_failed_and_running_runs_have_results(tmp_path: Path) -> None:
    names = ["missing", "failed", "set_aside", "running", "killed", "queued", "lost", "broken"]
    runs = {name: record(seed=seed) for seed, name in enumerate(names)}
    write_run(tmp_path, "failed", runs["failed"] | {"status": "failed", "error": "loss became nan"})
    for name in ("running", "killed"):  # of which one has its lock
        write_run(tmp_path, name, runs[name] | {"status": "running"})
    write_run(tmp_path, "broken", runs["broken"] | {"test_accuracy": None})
    entries = [plan_entry(c, f"4.{i}/{name}/s0") for i, (name, c) in enumerate(runs.items())]
    queue = [
        (runs["set_aside"]["fingerprint"], "set_aside", "Traceback\nMemoryError"),
        (runs["queued"]["fingerprint"], "queued", ""),
        (runs["lost"]["fingerprint"], "done", ""),
    ]
    write_plan(tmp_path, entries, queue=queue)
    with RunFolder(tmp_path / "running"):
        listed = {result.plan.label: result for result in results(tmp_path)}
    assert {name: result.verdict for name, result in listed.items()} == {
        "missing": "not run",
        "failed": "failed",
        "set_aside": "failed",
        "running": "running",
        "killed": "interrupted",
        "queued": "queued",
        "lost": "record missing",
        "broken": "broken",
    }
    assert "loss became nan" in listed["failed"].errors[0]
    assert "MemoryError" in listed["set_aside"].errors[0]


def test_a_failed_seed_beside_a_finished_one_is_counted(tmp_path: Path) -> None:
    runs = [record(seed=0), record(seed=1) | {"status": "failed", "test_accuracy": None}]
    for content in runs:
        write_run(tmp_path, f"s{content['seed']}", content)
    write_plan(tmp_path, [plan_entry(c, f"4.5/x/s{c['seed']}") for c in runs])
    (result,) = results(tmp_path)
    assert (result.planned, dict(result.states)) == (2, {"finished": 1, "failed": 1})


def test_shortened_runs_are_never_averaged_with_full_ones(tmp_path: Path) -> None:
    full, short = record(accuracy=0.95), record(epochs=10, accuracy=0.7)
    limited = record(accuracy=0.5, settings={"data": {"limit": 2000}})
    for name, content in (("full", full), ("short", short), ("limited", limited)):
        write_run(tmp_path, name, content)
    name, values = "4.5/resnet453/s0", [reported(95.0)]
    write_plan(tmp_path, [plan_entry(full, name, values=values)])
    write_plan(tmp_path, [plan_entry(short, name, values=values)], sweep="short", scale=0.05)
    write_plan(tmp_path, [plan_entry(limited, name, values=values)], sweep="few", limit=2000)
    listed = results(tmp_path)
    assert [result.conditions.full for result in listed] == [True, False, False]
    assert [result.verdict for result in listed[1:]] == ["not comparable"] * 2
    assert [result.difference for result in listed[1:]] == [None] * 2
    assert len({result.conditions.words for result in listed}) == 3


def test_other_data_gets_no_verdict_against_the_reports(tmp_path: Path) -> None:
    content = record(accuracy=0.99, settings={"data": {"train": "data/synthetic_train.beton"}})
    write_run(tmp_path, "one", content)
    write_plan(tmp_path, [plan_entry(content, "4.5/resnet453/s0", values=[reported(95.66)])])
    (result,) = results(tmp_path)
    assert (result.verdict, result.difference) == ("not comparable", None)


@pytest.mark.parametrize("other", [{"precision": "fp32"}, {"data_digests": {"test": "c" * 64}}])
def test_another_precision_or_data_set_has_a_result_of_its_own(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    runs = [record(seed=0), record(seed=1), record(seed=2, **other)]
    for content in runs:
        write_run(tmp_path, f"s{content['seed']}", content)
    missing = record(seed=3)
    names = [plan_entry(c, f"4.5/x/s{c['seed']}") for c in (*runs, missing)]
    write_plan(tmp_path, names)
    listed = results(tmp_path)
    assert sorted((result.planned, result.last.n) for result in listed if result.last) == [
        (1, 1),
        (3, 2),
    ]


def test_the_same_run_in_two_sweeps_counts_once(tmp_path: Path) -> None:
    content = record()
    write_run(tmp_path, "one", content)
    write_run(tmp_path, "copy", content)
    for name in ("report_004", "reports"):
        write_plan(tmp_path, [plan_entry(content, "4.5/resnet453/s0")], sweep=name)
    (result,) = results(tmp_path)
    assert result.last is not None
    assert (result.planned, result.last.n) == (1, 1)


def test_experiments_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    names = ["0.10b", "0.10", "0.2", "0.1"]
    entries = [plan_entry(record(seed=i), f"{name}/x/s0") for i, name in enumerate(names)]
    write_plan(tmp_path, entries)
    assert [result.plan.experiment for result in results(tmp_path)] == [
        "0.1",
        "0.2",
        "0.10",
        "0.10b",
    ]
