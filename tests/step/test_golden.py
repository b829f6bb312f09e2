"""Thirty steps of each optimizer give the losses that are written down, on every CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from tests.support import golden_trace
from tests.support.data import Files
from tests.support.paths import ROOT


def written(optimizer: str) -> list[float]:
    losses: list[float] = json.loads((golden_trace.FOLDER / f"{optimizer}.json").read_text())
    return losses


@pytest.mark.parametrize("optimizer", golden_trace.OPTIMIZERS)
def test_thirty_steps_give_the_losses_that_are_written_down(optimizer: str, files: Files) -> None:
    losses = golden_trace.trace(optimizer, files.train)
    assert len(losses) == golden_trace.STEPS
    assert losses[-1] < losses[0]
    assert losses == written(optimizer)


@pytest.mark.parametrize("capability", ["default", pytest.param("avx2", marks=pytest.mark.slow)])
def test_they_are_the_same_for_other_instructions_threads_and_libraries(
    capability: str, files: Files
) -> None:
    environment = os.environ | {
        "ATEN_CPU_CAPABILITY": capability,
        "MKL_CBWR": "COMPATIBLE" if capability == "default" else "AVX2",
        "OMP_NUM_THREADS": "2",
    }
    names = ("sgd", "adam")  # Lookahead adds no sums, whose order is what differs
    command = [sys.executable, "-m", "tests.support.golden_trace", str(files.train), *names]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {name: written(name) for name in names}


@pytest.mark.parametrize("changed", [{"momentum": 0.9000001}, {"weight_decay": 0.000501}])
def test_a_slightly_different_optimizer_is_seen(
    changed: dict[str, float], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    optim, schedule = golden_trace.OPTIMIZERS["sgd"]
    constant = dataclasses.replace(schedule, name="constant")  # OneCycle has its own momentum
    traces = []
    for each in (optim, dataclasses.replace(optim, **changed)):
        monkeypatch.setitem(golden_trace.OPTIMIZERS, "sgd", (each, constant))
        traces.append(golden_trace.trace("sgd", files.train))
    assert traces[0] != traces[1]
