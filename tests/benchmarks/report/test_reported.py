"""Reported against measured: who is compared with what, and in which words."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import plans
from benchmarks.records import runs as run_files
from benchmarks.records.conditions import together
from benchmarks.report import reported as experiments
from benchmarks.report.reported import Row
from engine.errors import UserError
from tests.support.records import claim, planned, record, write_plan, write_run


def rows(root: Path) -> list[Row]:
    return experiments.rows(run_files.read(root), plans.read(root))


def sweep(root: Path, accuracies: list[float], *claims: dict[str, Any], **more: Any) -> list[Row]:
    """The rows of one variant whose seeds reached `accuracies`."""
    runs = [record(seed=seed, accuracy=each) for seed, each in enumerate(accuracies)]
    for seed, content in enumerate(runs):
        write_run(root, f"run{seed}", content)
    named = [planned(c, f"4.5/resnet453/s{c['seed']}", reported=claims, **more) for c in runs]
    write_plan(root, named)
    return rows(root)


@pytest.mark.parametrize(
    ("accuracies", "reported", "verdict"),
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
def test_the_verdict_is_in_words(
    tmp_path: Path, accuracies: list[float], reported: float, verdict: str
) -> None:
    (row,) = sweep(tmp_path, accuracies, claim(reported))
    assert row.verdict == verdict
    assert row.last is not None and row.last.n == len(accuracies)
    assert row.difference == pytest.approx(100 * sum(accuracies) / len(accuracies) - reported)


def test_a_best_epoch_is_held_against_a_best_epoch_alone(tmp_path: Path) -> None:
    (row,) = sweep(tmp_path, [0.950], claim(95.10, "best"))
    assert row.last is not None and row.alike is not None
    assert (row.last.mean, row.alike.mean) == (pytest.approx(95.0), pytest.approx(95.1))
    assert row.difference == pytest.approx(0.0)


def test_every_reported_value_has_its_row(tmp_path: Path) -> None:
    found = sweep(tmp_path, [0.95], claim(94.0), claim(95.0, "moving", "ancestor"))
    assert [row.claim.evidence for row in found if row.claim] == ["report", "ancestor"]


def test_what_breaks_the_budget_or_is_a_misprint_says_so(tmp_path: Path) -> None:
    content = record("resnet224", accuracy=0.9546)
    write_run(tmp_path, "run", content)
    notes = ["5.4M with [2,2,2,2] is a misprint"]
    entry = planned(content, "4.2/resnet224/s0", reported=[claim(95.46)], notes=notes)
    write_plan(tmp_path, [entry])
    (row,) = rows(tmp_path)
    assert (row.verdict, row.flags) == ("agrees within noise", ("over budget", "misprint"))
    assert row.notes == tuple(notes)


def test_missing_failed_and_running_runs_are_rows(tmp_path: Path) -> None:
    names = ["missing", "failed", "set_aside", "running", "queued", "lost", "broken"]
    runs = {name: record(seed=seed) for seed, name in enumerate(names)}
    write_run(tmp_path, "failed", runs["failed"] | {"status": "failed", "error": "loss became nan"})
    write_run(tmp_path, "running", runs["running"] | {"status": "running"})
    write_run(tmp_path, "broken", runs["broken"] | {"test_accuracy": None})
    entries = [planned(c, f"4.{i}/{name}/s0") for i, (name, c) in enumerate(runs.items())]
    queue = [
        (runs["set_aside"]["fingerprint"], "set_aside", "Traceback\nMemoryError"),
        (runs["queued"]["fingerprint"], "queued", ""),
        (runs["lost"]["fingerprint"], "done", ""),
    ]
    write_plan(tmp_path, entries, queue=queue)
    found = {row.label: row for row in rows(tmp_path)}
    assert {name: row.verdict for name, row in found.items()} == {
        "missing": "not run",
        "failed": "failed",
        "set_aside": "failed",
        "running": "running",
        "queued": "queued",
        "lost": "record missing",
        "broken": "broken",
    }
    assert "loss became nan" in found["failed"].errors[0]
    assert "MemoryError" in found["set_aside"].errors[0]


def test_a_failed_seed_beside_a_finished_one_is_counted(tmp_path: Path) -> None:
    runs = [record(seed=0), record(seed=1) | {"status": "failed", "test_accuracy": None}]
    for content in runs:
        write_run(tmp_path, f"s{content['seed']}", content)
    write_plan(tmp_path, [planned(c, f"4.5/x/s{c['seed']}") for c in runs])
    (row,) = rows(tmp_path)
    assert (row.planned, dict(row.states)) == (2, {"finished": 1, "failed": 1})


def test_shortened_runs_never_share_a_row_with_full_ones(tmp_path: Path) -> None:
    full, short = record(accuracy=0.95), record(epochs=10, accuracy=0.7)
    limited = record(accuracy=0.5, settings={"data": {"limit": 2000}})
    for name, content in (("full", full), ("short", short), ("limited", limited)):
        write_run(tmp_path, name, content)
    name, reported = "4.5/resnet453/s0", [claim(95.0)]
    write_plan(tmp_path, [planned(full, name, reported=reported)])
    write_plan(tmp_path, [planned(short, name, reported=reported)], sweep="short", scale=0.05)
    write_plan(tmp_path, [planned(limited, name, reported=reported)], sweep="few", limit=2000)
    found = rows(tmp_path)
    assert [row.conditions.full for row in found] == [True, False, False]
    assert [row.verdict for row in found[1:]] == ["not comparable"] * 2
    assert [row.difference for row in found[1:]] == [None] * 2
    assert len({row.conditions.words for row in found}) == 3


def test_other_data_gets_no_verdict_against_the_reports(tmp_path: Path) -> None:
    content = record(accuracy=0.99, settings={"data": {"train": "data/synthetic_train.beton"}})
    write_run(tmp_path, "one", content)
    write_plan(tmp_path, [planned(content, "4.5/resnet453/s0", reported=[claim(95.66)])])
    (row,) = rows(tmp_path)
    assert (row.verdict, row.difference) == ("not comparable", None)


@pytest.mark.parametrize("other", [{"precision": "fp32"}, {"data_digests": {"test": "c" * 64}}])
def test_another_precision_or_data_set_is_kept_apart(tmp_path: Path, other: dict[str, Any]) -> None:
    runs = [record(seed=0), record(seed=1), record(seed=2, **other)]
    for content in runs:
        write_run(tmp_path, f"s{content['seed']}", content)
    missing = record(seed=3)
    names = [planned(c, f"4.5/x/s{c['seed']}") for c in (*runs, missing)]
    write_plan(tmp_path, names)
    found = rows(tmp_path)
    assert sorted((row.planned, row.last.n) for row in found if row.last) == [(1, 1), (3, 2)]


def test_a_mixture_of_conditions_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "a", record(seed=0))
    write_run(tmp_path, "b", record(seed=1, precision="fp32"))
    runs = run_files.read(tmp_path)
    with pytest.raises(UserError, match=r"a and b were made .* \(precision bf16 and fp32\)"):
        together(runs, "test_accuracy")
    write_run(tmp_path, "c", record(seed=2))
    same = [run for run in run_files.read(tmp_path) if run["precision"] == "bf16"]
    with pytest.raises(UserError, match=r"epochs scaled by 1 and 0\.05"):
        together(same, "test_accuracy", {same[1]["fingerprint"]: 0.05})
    found = together(same, "test_accuracy")
    assert found is not None and found.n == 2


def test_the_same_run_in_two_sweeps_counts_once(tmp_path: Path) -> None:
    content = record()
    write_run(tmp_path, "one", content)
    write_run(tmp_path, "copy", content)
    for name in ("report_004", "reports"):
        write_plan(tmp_path, [planned(content, "4.5/resnet453/s0")], sweep=name)
    (row,) = rows(tmp_path)
    assert row.last is not None
    assert (row.planned, row.last.n) == (1, 1)


def test_experiments_are_in_the_order_that_people_count(tmp_path: Path) -> None:
    names = ["0.10b", "0.10", "0.2", "0.1"]
    entries = [planned(record(seed=i), f"{name}/x/s0") for i, name in enumerate(names)]
    write_plan(tmp_path, entries)
    assert [row.experiment for row in rows(tmp_path)] == ["0.1", "0.2", "0.10", "0.10b"]


def test_broken_plans_and_queues_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    write_plan(tmp_path, [planned(record(), "4.5/x/s0"), {"name": 3}])
    (tmp_path / "sweeps" / "report_004" / "queue.sqlite").write_text("no database at all" * 99)
    for name, content in (("half", '{"runs": ['), ("list", "[]"), ("none", None)):
        (tmp_path / "sweeps" / name).mkdir()
        if content is not None:
            (tmp_path / "sweeps" / name / "plan.json").write_text(content)
    found = plans.read(tmp_path)
    assert len(found.runs) == 1
    assert [problem.partition(":")[0] for problem in found.problems] == [
        "sweeps/half/plan.json",
        "sweeps/list/plan.json",
        "sweeps/none/plan.json",
        "sweeps/report_004/plan.json",
        "sweeps/report_004/queue.sqlite",
    ]


def test_a_queue_is_only_read(tmp_path: Path) -> None:
    folder = write_plan(tmp_path, [planned(record(), "4.5/x/s0")])
    path = folder / "queue.sqlite"
    before = path.read_bytes()
    with sqlite3.connect(path) as busy:
        busy.execute("BEGIN IMMEDIATE")  # a sweep that is writing
        assert plans.read(tmp_path).problems == []
        busy.rollback()
    busy.close()
    assert path.read_bytes() == before
