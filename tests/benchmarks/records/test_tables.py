"""The runs of a folder as a table, whatever state their files are in."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.records import runs
from benchmarks.report import formats
from engine.errors import UserError
from tests.support.records import log, record, write_run


def test_a_real_run_is_one_row_with_its_settings_and_one_row_per_epoch(
    trained: Path,
) -> None:
    frame = tables.load(trained)
    (row,) = frame.to_dict("records")
    assert (row["status"], row["problem"], row["epochs"], row["data"]) == ("finished", "", 2, "few")
    assert 0 <= row["test_accuracy"] <= 1
    assert row["train.batch_size"] == 16
    assert row["petaflops"] > 0
    epochs = tables.epochs(trained)
    assert epochs["epoch"].tolist() == [1, 2]
    assert epochs["train_loss"].notna().all()
    assert epochs["validation_accuracy"].notna().all()


def test_one_runs_own_folder_is_read_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "one", record())
    write_run(tmp_path, "two", record(seed=1))
    assert tables.load(folder)["folder"].tolist() == ["one"]
    assert len(tables.load(tmp_path)) == 2


def test_no_runs_make_an_empty_table_with_the_same_columns(tmp_path: Path) -> None:
    empty = tables.load(tmp_path)
    write_run(tmp_path, "one", record())
    full = tables.load(tmp_path)
    assert len(empty) == 0
    assert [name for name in empty if name not in full] == []
    both = [name for name in empty if empty[name].dtype != full[name].dtype]
    assert both == []


def test_a_missing_folder_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        tables.load(tmp_path / "nowhere")


def test_caches_sweeps_and_other_folders_are_not_listed(tmp_path: Path) -> None:
    write_run(tmp_path, "one", record())
    write_run(tmp_path, ".cache", record(seed=1))
    write_run(tmp_path, "sweeps", record(seed=2))
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    assert tables.load(tmp_path)["folder"].tolist() == ["one"]


WRONG: dict[str, tuple[Any, str]] = {
    "half": ('{"format": 1, "status": "fini', "not readable as JSON"),
    "empty": ("", "not readable as JSON"),
    "list": ("[1, 2]", "not readable as JSON"),
    "deep": ("[" * 100_000, "not readable as JSON"),
    "status": ({"status": "done"}, "status is done; expected finished"),
    "word": ({"test_accuracy": "high"}, "test_accuracy: expected a number, found high"),
    "nan": ({"test_accuracy": float("nan")}, "test_accuracy: expected a finite number, found nan"),
    "percent": ({"test_accuracy": 95.1}, "expected a share from 0 to 1, found 95.1"),
    "nothing": ({"test_accuracy": None}, "status is finished, but there is no test accuracy"),
    "settings": ({"config": None}, "has no settings"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_broken_record_is_listed_with_its_problem(name: str, tmp_path: Path) -> None:
    content, problem = WRONG[name]
    folder = write_run(tmp_path, name, record())
    if isinstance(content, dict):
        content = json.dumps(record() | content)
    (folder / "record.json").write_text(content)
    (row,) = tables.load(tmp_path).to_dict("records")
    assert problem in row["problem"]
    assert row["status"] == ("finished" if name == "settings" else "broken")


@pytest.mark.parametrize("seed", [10**400, -3, 1.5, True, [1]])
def test_impossible_numbers_are_left_out(seed: object, tmp_path: Path) -> None:
    folder = write_run(tmp_path, "one", record())
    (folder / "record.json").write_text(json.dumps(record() | {"seed": seed}))
    (row,) = runs.read(tmp_path)
    assert row["seed"] is None
    assert "record.json: seed: " in row.problems[0]


def test_a_run_killed_before_its_first_record_is_listed(tmp_path: Path) -> None:
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "lock").touch()
    (run,) = runs.read(tmp_path)
    assert (run.status, run.problems) == (
        "broken",
        ("record.json: missing; the run was stopped before it began",),
    )


def test_an_older_record_keeps_its_values(tmp_path: Path) -> None:
    old = {"status": "finished", "variant": "resnet18", "test_accuracy": 0.93, "format": 0}
    folder = write_run(tmp_path, "old", record())
    (folder / "record.json").write_text(json.dumps(old))
    (run,) = runs.read(tmp_path)
    assert (run.finished, run["test_accuracy"], run["params"]) == (True, 0.93, None)
    assert any("format 0, expected 1" in problem for problem in run.problems)


def test_a_truncated_log_keeps_its_complete_lines(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "one", record())
    log = folder / "log.jsonl"
    log.write_text(log.read_text()[:-30] + "\n\x00\xff")
    (run,) = runs.read(tmp_path)
    assert len(run.epochs) == 19
    assert run.problems == ("log.jsonl: 2 of 21 lines are not readable",)


def test_pipes_folders_and_dangling_links_do_not_stop_the_reading(tmp_path: Path) -> None:
    for name in ("pipe", "folder", "link"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe" / "record.json")
    (tmp_path / "folder" / "record.json").mkdir()
    (tmp_path / "link" / "record.json").symlink_to(tmp_path / "nowhere")
    problems = {run.folder: run.problems[0] for run in runs.read(tmp_path)}
    assert problems["pipe"].startswith("record.json: not a regular file")
    assert problems["folder"].startswith("record.json: not a regular file")
    assert "missing" in problems["link"]


def test_unprintable_names_are_made_printable(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff\x1b[31m\nname")
    write_run(tmp_path, name, record(variant="a\x00b\u202ec"))
    (run,) = runs.read(tmp_path)
    assert run.folder == "bad\ufffd\ufffd[31m\ufffdname"
    assert run["variant"] == "a\ufffdb\ufffdc"
    assert tables.load(tmp_path).to_csv().encode()


def test_names_that_print_the_same_are_numbered(tmp_path: Path) -> None:
    for name in (b"bad\xfe", b"bad\xff"):
        write_run(tmp_path, os.fsdecode(name), record())
    assert [run.folder for run in runs.read(tmp_path)] == ["bad\ufffd", "bad\ufffd (2)"]


def test_a_moving_average_needs_a_full_window(tmp_path: Path) -> None:
    write_run(tmp_path, "short", record(epochs=19))
    write_run(tmp_path, "whole", record(epochs=20))
    by_name = {run.folder: run for run in runs.read(tmp_path)}
    assert by_name["short"]["moving_test_accuracy"] is None
    lines = by_name["whole"].epochs
    mean = sum(line["test_accuracy"] for line in lines) / 20
    assert by_name["whole"]["moving_test_accuracy"] == pytest.approx(mean)


def test_the_work_of_a_run_is_its_own_or_that_of_whole_epochs(tmp_path: Path) -> None:
    old, new = record(), record(seed=1) | {"training_flops": 3 * 10**15}
    (before,), (now,) = (runs.read(write_run(tmp_path, n, r)) for n, r in (("a", old), ("b", new)))
    images = old["train_images"] * old["epochs"]
    assert before["petaflops"] == pytest.approx(old["flops"]["training"] * images / 1e15)
    assert now["petaflops"] == 3.0


@pytest.mark.parametrize(("planned", "words"), [(1.5, "1.5 epochs"), (2, "2 epochs"), (1, "1 ep")])
def test_a_last_epoch_that_is_a_part_counts_as_one(
    tmp_path: Path, planned: float, words: str
) -> None:
    content = record(epochs=math.ceil(planned))
    content["config"]["train"]["epochs"] = planned
    (run,) = runs.read(write_run(tmp_path, "one", content))
    assert run.passes == planned
    assert formats.training(run).startswith(words)


def test_values_that_cannot_be_reckoned_with_are_left_out(tmp_path: Path) -> None:
    content = record(epochs=3) | {"seconds": 1e308, "best_test_accuracy": -1e308, "steps": 2**63}
    content["config"]["train"]["note"] = "\ud800"
    lines = log(content)
    lines[0] |= {"train_accuracy": -1e308, "lr": 1e308, "seconds": 5e-324}
    lines[1]["epoch"] = lines[2]["step"] = 2**63
    write_run(tmp_path, "one", content, lines)
    (run,) = runs.read(tmp_path)
    assert run.finished
    assert (run["seconds"], run["best_test_accuracy"], run["steps"]) == (None, None, None)
    assert run.config["train.note"] == "\ufffd"
    assert list(run.epochs.numbers) == [1, 3]
    first = run.epochs[0]
    assert (first["train_accuracy"], first["lr"], first["seconds"]) == (None, None, 0.0)
    deep = '{"a":' * 40 + "1" + "}" * 40
    (tmp_path / "one" / "record.json").write_text(deep)
    assert runs.read(tmp_path)[0].status == "broken"
