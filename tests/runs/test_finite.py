"""What blew up in the last update is never saved, and never a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import train
from engine.errors import run_command
from engine.runs.directory import RunFolder
from engine.runs.state import State
from tests.support.data import Files
from tests.support.runs import exact_flags


@pytest.mark.parametrize("steps", [1, 3])
def test_a_blow_up_in_the_last_update_is_a_failed_run(
    files: Files, tmp_path: Path, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*exact_flags(files, tmp_path, steps / 3, 32), "--checkpoint.every_steps", "1"]
    flags += ["--optim.lr", "1e39"]
    assert run_command(train.main, flags) == 1
    err = capsys.readouterr().err
    assert "the weights are not finite after step 1 (epoch 1, lr 1e+39)" in err
    assert "last good checkpoint: none" in err
    record = RunFolder(tmp_path / "run").read_record()
    assert record is not None and record["status"] == "failed"
    assert not list((tmp_path / "run").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("part", "value"),
    [("parameter", float("inf")), ("buffer", float("-inf")), ("momentum", float("nan"))],
)
def test_one_value_of_the_state_is_enough(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    value: float,
) -> None:
    real = State.advance

    def advance(state: State, batch: Any) -> None:
        real(state, batch)
        if state.counters.step == 6:
            tensors = {
                "parameter": dict(state.network.named_parameters()),
                "buffer": {k: v for k, v in state.network.named_buffers() if "var" in k},
                "momentum": {k: v for k, v in state.step.tensors().items() if v.dim() == 4},
            }[part]
            with torch.no_grad():
                list(tensors.values())[-1].view(-1)[0] = value

    monkeypatch.setattr(State, "advance", advance)
    flags = [*exact_flags(files, tmp_path, 2, 32), "--checkpoint.every_steps", "3"]
    assert run_command(train.main, flags) == 1
    assert "the weights are not finite after step 6 (epoch 2, lr" in capsys.readouterr().err
    names = {path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"step-00000003"}
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "failed" and "last good checkpoint: step 3" in record["error"]


def test_values_whose_squares_overflow_are_finite(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = State.snapshot

    def snapshot(state: State, *rest: Any, **named: Any) -> Any:
        with torch.no_grad():
            next(iter(state.network.buffers())).view(-1)[0] = 3e38
        return real(state, *rest, **named)

    monkeypatch.setattr(State, "snapshot", snapshot)
    assert run_command(train.main, exact_flags(files, tmp_path, 1, 32)) == 0
