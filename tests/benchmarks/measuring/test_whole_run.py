"""A whole run of `engine.train`: its wall time, and what its record and log tell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measuring import child, timed_train, whole_run
from benchmarks.measuring.whole_run import Unfinished
from engine import train
from engine.errors import RESUMABLE, RunFailed, run_command
from engine.runs.counters import Counters
from engine.runs.run import Run
from engine.runs.state import State
from tests.support.data import Files
from tests.support.processes import run_warm
from tests.support.runs import SHORT


@pytest.fixture
def _warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in a process that has its imports behind it."""

    def run_python(*words: str, cache: Path, seconds: float, stops: bool) -> object:
        assert words[:2] == ("-m", whole_run.TIMED)
        return run_warm("train", *words[3:], seconds=seconds)

    monkeypatch.setattr(whole_run, "run_python", run_python)


@pytest.mark.usefixtures("_warm")
def test_a_whole_run_is_one_of_the_engine_with_the_settings_of_its_network(files: Files) -> None:
    flags = "--train.epochs 2 --train.batch_size 32 --train.seed 7 --runtime.precision fp32".split()
    figures = whole_run.run(
        "resnet111_w16", files.train, "cpu", *flags, "--runtime.threads", "1", seconds=50
    )
    assert figures["variant"] == "resnet111_w16"
    assert (figures["epochs"], figures["seed"], figures["batch_size"]) == (2, 7, 32)
    assert figures["wall_seconds"] > figures["seconds"][-1] > figures["seconds"][0] > 0
    assert 0 <= figures["test_accuracy"] <= 1 and len(figures["accuracies"]) == 2


@pytest.mark.usefixtures("_warm")
def test_a_whole_run_that_fails_says_why(files: Files) -> None:
    with pytest.raises(RunFailed, match=r"engine\.train ended with 2: .*train\.epohs"):
        whole_run.run("resnet111_w16", files.train, "cpu", "--train.epohs", "2", seconds=50)


@pytest.mark.usefixtures("_warm")
def test_a_kept_run_whose_time_is_up_is_continued_by_the_next_call(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(**options: Any) -> dict[str, Any]:
        flags = "--train.epochs 2 --train.batch_size 32 --runtime.precision fp32".split()
        where = ("resnet111_w16", files.train, "cpu", *flags, "--runtime.threads", "1")
        return whole_run.run(*where, seconds=60, keep=tmp_path, **options)

    def interrupted(*words: str, **options: Any) -> object:
        assert options["stops"]  # it is asked to stop, not killed
        folder = Path(words[2]).parent
        folder.mkdir()
        (folder / "log.jsonl").write_text("{}\n")
        return subprocess.CompletedProcess(words, RESUMABLE, "", "")

    with monkeypatch.context() as patch:
        patch.setattr(whole_run, "run_python", interrupted)
        with pytest.raises(Unfinished, match="1 epochs trained, the next call continues"):
            train()
    figures = train()
    (folder,) = tmp_path.glob("resnet111_w16-*")
    walls = json.loads((folder / whole_run.WALLS).read_text())
    assert len(walls) == 2 and figures["wall_seconds"] == pytest.approx(sum(walls))
    assert figures["epochs"] == 2
    monkeypatch.setattr(whole_run, "run_python", None)  # what is finished is only read
    assert train() == figures


def test_a_process_that_stops_is_asked_to_and_has_its_own_exit_code(tmp_path: Path) -> None:
    code = "import signal, sys, time\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); time.sleep(60)"
    done = child.run_python("-c", code, cache=tmp_path, seconds=3, stops=True)
    assert done.returncode == 75
    with pytest.raises(subprocess.TimeoutExpired):
        child.run_python("-c", code, cache=tmp_path, seconds=0.1)


def test_the_time_of_a_run_is_split_by_what_it_was_spent_on(files: Files, tmp_path: Path) -> None:
    target = tmp_path / whole_run.SPLIT
    flags = [*SHORT, *files.flags(), "--run.root", str(tmp_path), "--run.name", "run"]
    assert run_command(timed_train.main, [str(target), *flags]) == 0
    split = json.loads(target.read_text())
    assert split.pop("epochs") == 2
    assert list(split) == ["training", "evaluation", "checkpoint", "boundary"]
    assert all(seconds > 0 for seconds in split.values())
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert sum(split.values()) <= record["seconds"] + 5
    assert record["epochs"] == 2
    whole = whole_run._split(tmp_path, record, wall=100.0)
    assert whole is not None and sum(whole.values()) == pytest.approx(100.0)
    assert whole_run._split(tmp_path, {"epochs": 3}, wall=100.0) is None  # of several sessions


def test_nothing_stays_timed(files: Files) -> None:
    before = train.evaluate, Run._saver, State.epoch, Counters.end_epoch
    with timed_train.timing(timed_train.Split()):
        assert train.evaluate is not before[0]
    assert (train.evaluate, Run._saver, State.epoch, Counters.end_epoch) == before


def test_the_test_set_lies_beside_the_training_set(files: Files, tmp_path: Path) -> None:
    assert whole_run.test_set(files.train) == files.test
    assert whole_run.test_set(tmp_path / "alone.beton") == tmp_path / "alone.beton"


def test_compiling_is_what_the_first_epoch_takes_beyond_the_others() -> None:
    record = {
        "variant": "x", "epochs": 4, "precision": "bf16", "test_accuracy": 0.5,
        "images_per_second": 1.0, "config": {"train": {"seed": 3, "batch_size": 128}},
    }  # fmt: skip
    log = [{"seconds": end, "test_accuracy": 0.1} for end in (40.0, 41.0, 42.0, 44.0)]
    figures = whole_run.summary(record, log, wall=50.0)
    assert figures["usual_epoch_seconds"] == 1.0
    assert figures["compiling_seconds"] == 39.0
    assert figures["without_compiling_seconds"] == 11.0
    assert (figures["seed"], figures["test_accuracy"]) == (3, 0.5)
