"""Time to an accuracy on the page: tables and curves of what was recorded, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.accuracies.time_to.records import AIRBENCH, FOLDER, OURS
from benchmarks.report import time_to
from tests.support.pages import check_page
from tests.support.time_to import write_record


def test_recorded_runs_are_tables_and_curves_on_the_page(
    tmp_path: Path, report_of: Callable[..., str]
) -> None:
    folder = tmp_path / "results" / "a-machine" / FOLDER
    for seed in range(2):
        write_record(folder, OURS, "ours: house<94>", seed, 94.1, 440.0 + seed)
        write_record(folder, AIRBENCH, f"{AIRBENCH}: 8 epochs", seed, 93.2, 450.0)
        write_record(folder, AIRBENCH, f"{AIRBENCH}: 12 epochs", seed, 94.2, 650.0)
    page = report_of("--benchmarks", str(tmp_path / "results"))
    check_page(page)
    text = (tmp_path / "report" / "report.md").read_text()
    for words in ("Settings on a-machine", "440.5 ± 0.7", "some/one @ abc: x.py"):
        assert words in page and words in text, words
    assert time_to.NOT_YET not in page and time_to.NOT_YET not in text
    assert "ours: house&lt;94&gt;" in page and "ours: house&lt;94&gt;" in text
    assert "Accuracy against time and work on a-machine" in page
    assert "| airbench94\\_muon, 94 % | 603.9 |" in text
    plot = tmp_path / "report" / "plots" / "speed-time-to-accuracy-a-machine.svg"
    assert "seconds of training" in plot.read_text()


def test_without_records_the_page_says_that_nothing_was_measured(
    tmp_path: Path, report_of: Callable[..., str]
) -> None:
    folder = tmp_path / "results" / "a-machine" / FOLDER
    write_record(folder, OURS, "ours: tried", 0, 94.1, 440.0)
    (path,) = folder.iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rehearsal": True}))
    page = report_of("--benchmarks", str(tmp_path / "results"))
    check_page(page)
    assert time_to.NOT_YET in page and "ours: tried" not in page
    assert time_to.NOT_YET in (tmp_path / "report" / "report.md").read_text()


def test_the_target_is_the_highest_that_ours_reached(tmp_path: Path) -> None:
    for number, accuracy in enumerate((95.2, 93.0)):
        write_record(tmp_path / f"m{number}" / FOLDER, OURS, "ours: x", 0, accuracy, 900.0)
    assert [each.target for each in time_to.read(tmp_path, [])] == [95.0, 94.0]
    assert time_to.read(tmp_path / "none", []) == []
