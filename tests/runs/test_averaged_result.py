"""A run's result is the moving average, or Lookahead's slow weights, where it was told so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from engine import evaluate, train
from engine.errors import run_command
from engine.runs import checkpoint
from engine.runs.directory import RunFolder
from tests.support.data import Files
from tests.support.recording_device import install
from tests.support.runs import exact_flags, outcome

AVERAGED = "--optim.ema_decay 0.7 --optim.lr 0.05".split()
HELD_OUT = "--data.validation 11 --checkpoint.best".split()
SLOW_END = (
    "--optim.lookahead_k 4 --optim.lookahead_buffers --optim.lookahead_end slow "
    "--optim.lookahead_start k"
).split()


def _train(files: Files, root: Path, *more: str) -> RunFolder:
    assert run_command(train.main, [*exact_flags(files, root, 2, 32), *more]) == 0
    return RunFolder(root / "run")


def _saved(folder: RunFolder) -> dict[str, Tensor]:
    record = folder.finished_record()
    last = checkpoint.newest_valid(folder.checkpoints, lambda line: None, record["fingerprint"])
    assert last is not None
    return last.tensors


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def test_the_moving_average_is_evaluated_logged_and_saved_while_training_goes_on(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _train(files, tmp_path / "averaged", *AVERAGED)
    plain = _train(files, tmp_path / "plain", *AVERAGED[2:])
    weights, saved = load_file(folder.weights), _saved(folder)
    averages, trained = _under("step.ema.weights.", saved), _under("network.", saved)
    assert weights.keys() == trained.keys()
    others = trained.keys() - averages.keys()
    assert all(name.endswith("num_batches_tracked") for name in others)
    for name, average in averages.items():
        assert weights[name].equal(average)
        assert not weights[name].equal(trained[name])
    for name, value in load_file(plain.weights).items():
        assert value.equal(trained[name]), "training sees nothing of the average"
    capsys.readouterr()
    assert run_command(evaluate.main, [str(folder.path), "--device", "cpu", "--json"]) == 0
    record = folder.finished_record()
    assert json.loads(capsys.readouterr().out)["accuracy"] == record["test_accuracy"]
    assert record["test_loss"] != plain.finished_record()["test_loss"]
    logs = [
        [json.loads(line) for line in each.log.read_text().splitlines()] for each in (folder, plain)
    ]
    assert [a["train_loss"] for a in logs[0]] == [b["train_loss"] for b in logs[1]]
    assert all(a["test_loss"] != b["test_loss"] for a, b in zip(*logs, strict=True))


def test_the_best_weights_are_those_of_the_average(files: Files, tmp_path: Path) -> None:
    folder = _train(files, tmp_path, *AVERAGED, *HELD_OUT)
    record, best = folder.finished_record(), load_file(folder.best_weights)
    epoch = record["best_weights"]["epoch"]
    path = folder.checkpoints / f"step-{2 * epoch:08d}.safetensors"
    averages = _under("step.ema.weights.", load_file(path))
    assert averages
    assert all(best[name].equal(value) for name, value in averages.items())


def test_the_slow_weights_end_a_run_that_says_so(files: Files, tmp_path: Path) -> None:
    folder = _train(files, tmp_path / "slow", *SLOW_END)
    fast = _train(files, tmp_path / "fast", *(f for f in SLOW_END if f not in SLOW_END[3:5]))
    weights, slow = load_file(folder.weights), _under("step.lookahead.slow.", _saved(folder))
    named = [name for name in weights if not name.endswith("num_batches_tracked")]
    assert len(named) == len(slow)
    for value in slow.values():
        assert any(value.equal(weights[name]) for name in named)
    others = load_file(fast.weights)
    assert not any(weights[name].equal(others[name]) for name in named)


@pytest.mark.parametrize("more", [[*AVERAGED, *HELD_OUT], SLOW_END], ids=["average", "slow"])
def test_a_recorded_run_ends_with_the_same_files(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    _train(files, tmp_path / "eager", *more)
    install(monkeypatch)
    _train(files, tmp_path / "recorded", *more)
    assert outcome(tmp_path / "eager") == outcome(tmp_path / "recorded")
