"""`checkpoint.best` keeps the best epoch's weights on validation images, and changes no bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from engine import evaluate, train
from engine.errors import run_command
from engine.runs import run as runs
from engine.runs.best_weights import BestWeights
from engine.runs.directory import RunFolder
from engine.runs.state import State
from engine.signals import SIGNALS
from engine.step.totals import Means
from tests.support.data import Files
from tests.support.dying import Died, die_and_continue
from tests.support.recording_device import install
from tests.support.runs import exact_flags, outcome

HELD_OUT = ["--data.validation", "11"]  # which leaves 64 to train on
KEPT = [*HELD_OUT, "--checkpoint.best"]
RISING_AND_FALLING = (0.2, 0.6, 0.6, 0.3)  # accuracies of four epochs; of a tie the earlier wins
SLOW = pytest.mark.slow


def _flags(files: Files, root: Path, epochs: int = 2, *more: str) -> list[str]:
    return [*exact_flags(files, root, epochs, 32), *more]


def _record(root: Path) -> dict[str, Any]:
    record = RunFolder(root / "run").read_record()
    assert record is not None
    return record


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch is evaluated to its number in `RISING_AND_FALLING`."""
    real = train.evaluate

    def pretended(*args: Any, **named: Any) -> Means | None:
        means = real(*args, **named)
        if len(args) < 5 or means is None:  # of the test set
            return means
        return dataclasses.replace(means, accuracy=next(accuracies))

    accuracies = itertools.cycle(RISING_AND_FALLING)
    monkeypatch.setattr(train, "evaluate", pretended)


def test_the_weights_of_the_best_epoch_are_kept_and_tested_once(
    files: Files, tmp_path: Path, accuracies: None, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "four"
    assert run_command(train.main, _flags(files, root, 4, *KEPT)) == 0
    out = capsys.readouterr().out
    record, folder = _record(root), RunFolder(root / "run")
    kept = record["best_weights"]
    assert (kept["epoch"], kept["validation_accuracy"]) == (2, 0.6)
    assert set(kept) == {"epoch", "validation_accuracy", "test_accuracy", "test_loss"}
    assert f"best weights   {100 * kept['test_accuracy']:.2f} %  (of epoch 2" in out
    for which, accuracy in (("best", kept["test_accuracy"]), ("last", record["test_accuracy"])):
        flags = [str(folder.path), "--weights", which, "--device", "cpu", "--json"]
        assert run_command(evaluate.main, flags) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] == accuracy
    two = tmp_path / "two"  # the same schedule, ended after its best epoch
    length = ["--schedule.t_max", "4"]
    assert run_command(train.main, _flags(files, two, 2, *HELD_OUT, *length)) == 0
    best, stopped = load_file(folder.best_weights), load_file(two / "run" / "weights.safetensors")
    assert all(best[name].equal(stopped[name]) for name in stopped)
    last = load_file(folder.weights)
    assert not all(best[name].equal(last[name]) for name in last)


def test_it_changes_no_bit_of_the_run(files: Files, tmp_path: Path) -> None:
    plain, kept = tmp_path / "plain", tmp_path / "kept"
    assert run_command(train.main, _flags(files, plain, 2, *HELD_OUT)) == 0
    assert run_command(train.main, _flags(files, kept, 2, *KEPT)) == 0
    assert not (plain / "run" / "best_weights.safetensors").exists()
    one, other = outcome(plain), outcome(kept)
    assert "best_weights" not in one["record"]
    for key in ("best_weights", "best_weights_sha256"):
        del other["record"][key]
    for each in (one, other):
        del each["record"]["config"]["checkpoint"]["best"], each["state"]
    del other["best_weights"]
    assert one == other


def test_a_run_from_weights_stopped_after_every_step_ends_with_the_same_files(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    assert run_command(train.main, _flags(files, source, 1, *HELD_OUT)) == 0
    more = [*KEPT, "--model.weights", str(source / "run")]
    assert run_command(train.main, _flags(files, tmp_path / "whole", 2, *more)) == 0
    signals, real = itertools.cycle(SIGNALS), State.advance

    def signalled(state: State, batch: Any) -> None:
        os.kill(os.getpid(), next(signals))
        real(state, batch)

    monkeypatch.setattr(State, "advance", signalled)
    flags = _flags(files, tmp_path / "parts", 2, *more)
    assert [run_command(train.main, flags) for _ in range(5)] == [75] * 4 + [0]
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("first", "every"), [(0, 9), *(pytest.param(n, 3, marks=SLOW) for n in range(3))]
)
def test_a_run_that_dies_at_any_durable_operation_ends_with_the_same_files(
    files: Files, tmp_path: Path, first: int, every: int
) -> None:
    flags = [*exact_flags(files, tmp_path / "whole", 2, 64), *KEPT]
    assert run_command(train.main, flags) == 0
    die_and_continue(files, tmp_path, itertools.count(first, every), KEPT)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_run_that_lost_epochs_has_the_best_weights_of_its_checkpoint(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    seldom = [*KEPT, "--checkpoint.every_epochs", "3"]
    assert run_command(train.main, _flags(files, tmp_path / "whole", 6, *seldom)) == 0
    real = State.advance

    def dying(state: State, batch: Any) -> None:
        if state.counters.step == 2 * 3 * lost - 1:
            raise Died
        real(state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(State, "advance", dying)
        with pytest.raises(Died):
            run_command(train.main, _flags(files, tmp_path / "parts", 6, *seldom))
    (tmp_path / "parts" / "run" / "best_weights.safetensors").write_bytes(b"of a lost epoch")
    assert run_command(train.main, _flags(files, tmp_path / "parts", 6, *seldom)) == 0
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_recorded_run_copies_them_once_per_snapshot_and_writes_them_in_the_background(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(train.main, _flags(files, tmp_path / "whole", 3, *KEPT)) == 0
    writers: list[threading.Thread] = []
    real = BestWeights.keep

    def keep(best: BestWeights, snapshot: Any) -> None:
        writers.append(threading.current_thread())
        real(best, snapshot)

    monkeypatch.setattr(BestWeights, "keep", keep)
    recorder = install(monkeypatch)
    assert run_command(train.main, _flags(files, tmp_path / "parts", 3, *KEPT)) == 0
    assert writers and threading.main_thread() not in writers
    assert recorder.copies == 3  # of the checkpoints, one per epoch
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_weights_are_never_chosen_on_the_test_set(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(train.main, _flags(files, tmp_path / "runs", 1, "--checkpoint.best")) == 2
    err = capsys.readouterr().err
    assert "--checkpoint.best true: needs held-out images, but data.validation is 0; " in err
    assert "or give --checkpoint.best false" in err
    assert not (tmp_path / "runs").exists()


def test_best_weights_that_were_not_kept_are_not_made_up(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "finish", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_command(train.main, _flags(files, tmp_path, 1, *HELD_OUT))
    assert run_command(train.main, _flags(files, tmp_path, 1, *KEPT)) == 2
    assert "the weights of epoch 1, its best so far, were not kept" in capsys.readouterr().err
    assert run_command(train.main, _flags(files, tmp_path, 1, *HELD_OUT)) == 0
    run = str(tmp_path / "run")
    capsys.readouterr()
    assert run_command(evaluate.main, [run, "--weights", "best"]) == 2
    assert "kept no best weights; it was not run with checkpoint.best" in capsys.readouterr().err
    (tmp_path / "run" / "best_weights.safetensors").write_bytes(b"of an earlier run")
    assert run_command(train.main, _flags(files, tmp_path, 1, *HELD_OUT, "--fresh")) == 0
    assert not (tmp_path / "run" / "best_weights.safetensors").exists()
