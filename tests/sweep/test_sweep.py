"""A sweep trains each run once, continues after failures and stops, and prints the results."""

from __future__ import annotations

import json
import os
import platform
import signal
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from engine.runs.directory import RunFolder
from engine.runs.state import State
from engine.sweep import driver
from engine.sweep.__main__ import main
from engine.sweep.queue import Queue
from engine.sweep.queue_rows import QueueRow
from tests.support.sweeps import Sweep

FAILING = """
  - id: "1"
    title: One that cannot be trained, and others
    runs:
      - {name: good, settings: {optim: {lr: 0.1}}}
      - {name: failing, settings: {optim: {lr: 1.0e+30}}}
      - {name: better, settings: {optim: {lr: 0.2}}}
"""


def test_every_run_is_trained_once(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep() == 0
    out, err = capsys.readouterr()
    records = sweep.records()
    assert len(records) == 4
    assert all(record["status"] == "finished" for record in records.values())
    assert "4 of 4 done" in err and "\x1b" not in out + err
    assert "1/lr=0.1,momentum=0.9" in out and "55.5 best (log)" in out
    plan = json.loads((sweep.queue().parent / "plan.json").read_text())
    assert {run["folder"] for run in plan["runs"]} == records.keys()
    assert plan["sweep"] == "few"
    stamps = sweep.stamps()
    assert sweep() == 0
    again = capsys.readouterr()
    assert again.out == out
    assert sweep("--summary", "--json") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    measured = {result["run"]: result["last_epoch_test_accuracy"]["mean"] for result in results}
    accuracies = sorted(100 * record["test_accuracy"] for record in records.values())
    assert sorted(measured.values()) == accuracies
    assert "4 runs, 4 done before" in again.err
    assert sweep.stamps() == stamps
    assert sweep.query("SELECT count(*) FROM executions") == [(4,)]


def test_a_run_finished_by_another_sweep_or_by_hand_is_not_trained_again(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    one = '  - {id: "7", title: x, settings: {optim: {lr: 0.1, momentum: 0.9}}}'
    other = sweep.write(one, name="other")
    assert sweep(path=other) == 0
    by_hand = "--optim.lr 0.05 --optim.momentum 0.9 --model.blocks 1,1 --model.widths 4"
    more = "--train.epochs 2 --train.batch_size 16 --run.name mine"
    assert run_command(train.main, [*sweep.arguments()[2:], *by_hand.split(), *more.split()]) == 0
    stamps = sweep.stamps()
    assert sweep() == 0
    assert len(sweep.records()) == 4
    assert {name: sweep.stamps()[name] for name in stamps} == stamps
    assert sweep.query("SELECT count(*) FROM executions") == [(2,)]


def test_a_run_that_fails_is_set_aside_with_its_last_lines_and_the_others_continue(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write(FAILING)
    assert sweep("--retries", "2") == 1
    out, err = capsys.readouterr()
    assert "1/failing/s0: set aside" in out
    assert "1/failing/s0: set aside after 3 failures" in err
    assert "    error: loss became" in err
    assert sum(record["status"] == "finished" for record in sweep.records().values()) == 2
    assert sweep.query("SELECT count(*) FROM executions") == [(5,)]
    (error,) = sweep.query("SELECT error FROM runs WHERE state = 'set_aside'")
    assert error[0].count("error: ") == 1, "the last lines of the last attempt alone"
    assert sweep() == 1  # it stays aside
    assert sweep.query("SELECT count(*) FROM executions") == [(5,)]
    assert sweep("--retry-failed", "--retries", "0") == 1
    assert sweep.query("SELECT count(*) FROM executions") == [(6,)]
    capsys.readouterr()
    assert sweep("--dry-run") == 0
    assert "3 runs: 2 done, 1 set aside" in capsys.readouterr().out


def test_a_stop_saves_the_exact_step_and_the_same_command_continues(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep() == 0
    whole = {name: record["sample_trace"] for name, record in sweep.records().items()}
    real, steps = State.advance, iter(range(1, 10_000))

    def signalled(state: State, *rest: Any) -> None:
        if next(steps) % 13 == 0:
            os.kill(os.getpid(), signal.SIGINT)
        real(state, *rest)

    sweep.root = sweep.folder / "again"
    monkeypatch.setattr(State, "advance", signalled)
    capsys.readouterr()
    assert sweep() == 75
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "stopped with 1 of 4 runs done; the same command continues"
    statuses = [record["status"] for record in sweep.records().values()]
    assert sorted(statuses) == ["finished", "interrupted"]
    codes = []
    while (code := sweep()) == 75:
        codes.append(code)
    assert code == 0 and codes
    assert {name: record["sample_trace"] for name, record in sweep.records().items()} == whole
    assert sorted(sweep.printed()) == sorted(whole), "each result once"


def test_a_run_that_another_process_trains_is_skipped_and_does_not_fail(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(driver, "WAIT_SECONDS", 0.1)
    folder = RunFolder(sweep.root / sweep.plan()["runs"][0]["folder"]).__enter__()
    finished: list[int] = []
    real = driver.Driver._left

    def left(loop: driver.Driver) -> bool:
        finished.append(len(sweep.stamps()))
        if len(finished) == 3:  # the others are done, this one was tried several times
            folder.__exit__()
        return real(loop)

    monkeypatch.setattr(driver.Driver, "_left", left)
    assert sweep() == 0
    assert finished[:3] == [3, 3, 3]
    err = capsys.readouterr().err
    assert err.count("already running in another process; skipped") == 1
    assert len(sweep.stamps()) == 4
    assert sweep.query("SELECT count(*) FROM runs WHERE attempts > 0") == [(0,)]


def test_a_run_that_another_process_begins_at_the_same_moment_is_left_to_it(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(driver, "WAIT_SECONDS", 0.1)
    sweep.write('  - {id: "1", title: One, settings: {optim: {lr: 0.1}}}')
    folder = RunFolder(sweep.root / sweep.plan()["runs"][0]["folder"]).__enter__()
    looks: list[Path] = []

    class Late:
        """A lock that is taken just after the look at it."""

        def __init__(self, path: Path) -> None:
            looks.append(path)
            if len(looks) == 3:
                folder.__exit__()

        def locked(self) -> bool:
            return False

    monkeypatch.setattr(driver, "RunFolder", Late)
    assert sweep() == 0
    assert sweep.query("SELECT outcome FROM executions") == [("busy",), ("busy",), ("done",)]
    assert sweep.query("SELECT attempts, orphaned FROM runs") == [(0, 0)]
    assert capsys.readouterr().err.count("already running in another process; skipped") == 1
    assert sweep.query("SELECT DISTINCT host FROM executions WHERE outcome = 'done'") == [
        (platform.node(),)
    ]


def test_a_damaged_queue_is_replaced_from_the_records(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--only", "1/lr=0.1*") == 0
    stamps = sweep.stamps()
    sweep.queue().write_bytes(b"no database")
    capsys.readouterr()
    assert sweep() == 0
    err = capsys.readouterr().err
    assert "damaged (file is not a database), kept as queue.sqlite.bad-1" in err
    assert "4 runs, 2 done before" in err
    assert {name: sweep.stamps()[name] for name in stamps} == stamps
    assert len(sweep.stamps()) == 4


@pytest.mark.parametrize("state", ["pueued", "done"])
def test_a_run_that_the_queue_loses_is_made_before_the_sweep_ends_with_0(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    real, lost = driver.Driver._begin, iter([True])

    def begin(loop: driver.Driver, run: Any, row: Any) -> None:
        real(loop, run, row)
        if next(lost, False):  # after the first claim, one that is free
            with loop._queue.together() as base:
                base.execute(
                    "UPDATE runs SET state = ? WHERE rowid = "
                    "(SELECT max(rowid) FROM runs WHERE state = 'queued')",
                    (state,),
                )

    monkeypatch.setattr(driver.Driver, "_begin", begin)
    assert sweep() == 0
    assert [record["status"] for record in sweep.records().values()] == ["finished"] * 4


def test_a_queue_that_offers_what_is_done_for_ever_is_an_error(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--only", "1/lr=0.1*") == 0
    (first, *_), real = sweep.query("SELECT fingerprint FROM runs ORDER BY position"), Queue.claim

    def claim(queue: Queue, *rest: Any) -> list[tuple[str, QueueRow]]:
        real(queue, *rest)
        return [(first[0], QueueRow("queued"))]  # as from an index that no change reaches

    monkeypatch.setattr(Queue, "claim", claim)
    capsys.readouterr()
    assert sweep() == 2
    assert "queue.sqlite: damaged (it offers 1/lr=0.1" in capsys.readouterr().err
    monkeypatch.undo()
    assert sweep() == 0


JUNK = [
    {},
    {"test_accuracy": 0.9999},
    {"test_accuracy": "high", "epochs": 2, "weights_sha256": "0" * 64},
    {"test_accuracy": 1.01, "epochs": 2, "weights_sha256": "0" * 64},
    {"test_accuracy": 0.9, "epochs": "2", "weights_sha256": "0" * 64},
    {"test_accuracy": 0.9, "epochs": 2, "weights_sha256": "../weights"},
]


@pytest.mark.parametrize("junk", JUNK)
def test_a_record_that_only_says_finished_is_no_result(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], junk: dict[str, Any]
) -> None:
    sweep.write('  - {id: "1", title: One, settings: {optim: {lr: 0.1}}}', epochs=1)
    (planned,) = sweep.plan()["runs"]
    (sweep.root / "junk").mkdir(parents=True)
    content = {"fingerprint": planned["fingerprint"], "status": "finished"} | junk
    (sweep.root / "junk" / "record.json").write_text(json.dumps(content))
    assert sweep("--summary") == 0
    out, err = capsys.readouterr()
    assert f"{planned['name']}: to do" in out
    assert "junk/record.json: says that it is finished, and has no result" in err


def test_an_unreadable_record_affects_no_other_run(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--only", "1/lr=0.1*") == 0
    (sweep.root / "strange").mkdir()
    (sweep.root / "strange" / "record.json").write_text('{"fingerprint": 3')
    capsys.readouterr()
    assert sweep("--summary") == 0
    out, err = capsys.readouterr()
    assert "strange/record.json: not readable as JSON" in err
    assert "1/lr=0.05,momentum=0.5/s0: to do" in out


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    for option in (
        "--sweep-file FILE", "--only GLOB", "--seeds N", "--epochs-scale F", "--jobs N",
        "--retries N", "--retry-failed", "--dry-run", "--summary", "--json", "--quiet",
        "--resume", "--data.train", "--data.limit", "--runtime.threads", "--run.root",
        "--checkpoint.every_epochs",
    ):  # fmt: skip
        assert f"  {option}\n" in out, option
    assert "--optim" not in out and "--run.name" not in out


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word if word != "cpu" else "cuda:7" for word in sweep.arguments()]
    assert run_command(main, words) == 2
    assert "runtime.device cuda:7" in capsys.readouterr().err
    assert not sweep.root.exists()
