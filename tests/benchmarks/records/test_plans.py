"""The plans and queues of sweeps, whatever state their files are in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from benchmarks.records import plans
from tests.support.records import plan_entry, record, write_plan


def test_broken_plans_and_queues_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    write_plan(tmp_path, [plan_entry(record(), "4.5/x/s0"), {"name": 3}])
    (tmp_path / "sweeps" / "report_004" / "queue.sqlite").write_text("no database at all" * 99)
    for name, content in (("half", '{"runs": ['), ("list", "[]"), ("none", None)):
        (tmp_path / "sweeps" / name).mkdir()
        if content is not None:
            (tmp_path / "sweeps" / name / "plan.json").write_text(content)
    result = plans.read(tmp_path)
    assert len(result.entries) == 1
    assert [problem.partition(":")[0] for problem in result.problems] == [
        "sweeps/half/plan.json",
        "sweeps/list/plan.json",
        "sweeps/none/plan.json",
        "sweeps/report_004/plan.json",
        "sweeps/report_004/queue.sqlite",
    ]


def test_a_queue_is_not_changed_nor_waited_for(tmp_path: Path) -> None:
    folder = write_plan(tmp_path, [plan_entry(record(), "4.5/x/s0")])
    path = folder / "queue.sqlite"
    before = path.read_bytes()
    with sqlite3.connect(path) as busy:
        busy.execute("BEGIN IMMEDIATE")  # a sweep that is writing
        assert plans.read(tmp_path).problems == []
        busy.rollback()
    busy.close()
    assert path.read_bytes() == before
