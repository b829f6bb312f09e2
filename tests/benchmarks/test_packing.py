"""The benchmark of several runs at a time, and that `--jobs auto` finds what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.packing.__main__ import main
from engine.config.schema import Model
from engine.model import budget, resolve
from engine.step.measurements import known
from engine.sweep.packing import nearest_gain
from tests.support.data import Files
from tests.support.runs import Call


@pytest.mark.long
@pytest.mark.timeout(300)
def test_gains_are_printed_written_and_kept(files: Files, tmp_path: Path, call: Call) -> None:
    output, cache = tmp_path / "packing.json", tmp_path / "cache"
    words = ("--networks", "resnet11", "--turns", "1", "--seconds", "0.01", "--output", output)
    code, out, _ = call(main, "--data", files.train, "--cache", cache, *words)
    assert code == 0
    content = json.loads(output.read_text())
    (row,) = content["networks"]
    assert row["network"] == "resnet11" and row["one"] > 0 and row["packed"] > 0
    assert f"{row['gain']:.2f}" in out
    work = budget.flops(resolve(Model(name="resnet11"))).training
    gain = nearest_gain(known(cache), content["machine"]["cores"], 2 * work)
    assert gain == pytest.approx(row["gain"], abs=1e-3)
