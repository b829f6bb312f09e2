"""Thirty steps of each recipe give the golden losses, on every CPU."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support import golden_trace
from tests.support.data import Files
from tests.support.processes import python, succeed


def golden(name: str) -> list[float]:
    losses: list[float] = json.loads((golden_trace.FOLDER / f"{name}.json").read_text())
    return losses


@pytest.mark.parametrize("name", golden_trace.RECIPES)
def test_thirty_steps_give_the_golden_losses(name: str, files: Files) -> None:
    losses = golden_trace.trace(name, files.train)
    assert len(losses) == golden_trace.STEPS
    assert losses[-1] < losses[0]
    assert losses == golden(name)


@pytest.mark.parametrize(
    ("capability", "names"),  # without Lookahead: it adds no sums, whose order is what differs
    [
        pytest.param("default", ["sgd"], marks=pytest.mark.slow),
        pytest.param("default", ["adam"], marks=pytest.mark.slow),
        pytest.param("default", ["muon"], marks=pytest.mark.slow),
        pytest.param("avx2", ["sgd", "adam"], marks=pytest.mark.slow),
    ],
)
def test_golden_losses_do_not_depend_on_instructions_threads_and_libraries(
    capability: str, names: list[str], files: Files
) -> None:
    environment = {
        "ATEN_CPU_CAPABILITY": capability,
        "MKL_CBWR": "COMPATIBLE" if capability == "default" else "AVX2",
        "OMP_NUM_THREADS": "2",
    }
    command = python("-m", "tests.support.golden_trace", files.train, *names)
    output = succeed(*command, environment=environment)
    assert json.loads(output) == {name: golden(name) for name in names}


@pytest.mark.parametrize("changed", [{"momentum": 0.9000001}, {"weight_decay": 0.000501}])
def test_golden_losses_change_with_a_slightly_different_optimizer(
    changed: dict[str, float], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = golden_trace.RECIPES["sgd"]
    constant = replace(recipe.schedule, name="constant")  # OneCycle has its own momentum
    traces = []
    for optim in (recipe.optim, replace(recipe.optim, **changed)):
        monkeypatch.setitem(
            golden_trace.RECIPES, "sgd", replace(recipe, optim=optim, schedule=constant)
        )
        traces.append(golden_trace.trace("sgd", files.train))
    assert traces[0] != traces[1]
