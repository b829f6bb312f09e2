"""Runs that start from weights: of a file, or of another run, which they wait for."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from engine.runs.state import State
from tests.support.sweeps import Sweep

LEGS = """
  - id: "1"
    title: Three legs
    seeds: [0, 1]
    runs:
      - {name: first, settings: {train: {epochs: 1}, schedule: {t_max: 2}}}
      - {name: second, weights_from: first}
      - {name: third, weights_from: 1/second, settings: {optim: {lr: 0.05}}}
"""
ONE = """
  - id: "1"
    title: One
    runs:
      - {name: a}
      - {name: b, weights_from: WEIGHTS}
"""


def by_name(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """The runs of plan.json."""
    plan = json.loads((sweep.queue().parent / "plan.json").read_text())
    return {run["name"]: run for run in plan["runs"]}


def test_a_run_starts_from_the_weights_of_the_run_before_it(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write(LEGS, epochs=1)
    assert sweep("--dry-run") == 0
    assert capsys.readouterr().out.count("to do, after 1/first/s") == 2
    planned = {run["name"]: run for run in sweep.plan()["runs"]}
    assert len({run["fingerprint"] for run in planned.values()}) == 6
    assert sweep() == 0
    assert "2 runs, 0 done before, 4 more after them" in capsys.readouterr().err
    runs, records = by_name(sweep), sweep.records()
    assert len(records) == 6
    for name, run in runs.items():
        record = records[run["folder"]]
        assert (record["fingerprint"], record["status"]) == (run["fingerprint"], "finished")
        source = {"second": "first", "third": "second"}.get(name.split("/")[1])
        if source is None:
            assert "weights_from" not in run and "initial_weights" not in record
        else:
            assert run["weights_from"] == f"1/{source}/s{run['seed']}"
            before = records[runs[run["weights_from"]]["folder"]]
            assert record["initial_weights"]["sha256"] == before["weights_sha256"]
    stamps = sweep.stamps()
    assert sweep() == 0
    assert "6 runs, 6 done before" in capsys.readouterr().err
    assert sweep.stamps() == stamps
    assert {run["state"] for run in sweep.plan()["runs"]} == {"done"}


def test_a_leg_starts_from_the_run_with_the_same_values_of_the_axes(sweep: Sweep) -> None:
    axes = "\n    axes: {optim.lr: [0.1, 0.2], model.widths: [[4, 8], [8, 8]]}"
    other = (
        '\n  - {id: "2", title: x, runs: [{name: a, weights_from: "1/second,lr=0.1,widths=4-8"}]}'
    )
    sweep.write(LEGS.replace("seeds: [0, 1]", f"seeds: [0]{axes}").rstrip() + other)
    runs = {run["name"]: run for run in sweep.plan()["runs"]}
    assert len(runs) == 13
    for point in ("lr=0.1,widths=4-8", "lr=0.2,widths=8-8"):
        for name, source in (("second", "first"), ("third", "second")):
            assert runs[f"1/{name},{point}/s0"]["weights_from"] == f"1/{source},{point}/s0"
    assert runs["2/a/s0"]["weights_from"] == "1/second,lr=0.1,widths=4-8/s0"


def test_the_same_leg_by_hand_is_the_same_run(sweep: Sweep) -> None:
    sweep.write(LEGS)
    assert sweep("--only", "1/first/s0", "--only", "1/second/s0") == 0
    (folder,) = [
        name for name, record in sweep.records().items() if "initial_weights" not in record
    ]
    stamps = sweep.stamps()
    assert len(stamps) == 2
    by_hand = f"--model.blocks 1,1 --model.widths 4 --model.weights {sweep.root / folder}"
    more = "--train.epochs 2 --train.batch_size 16"
    assert run_command(train.main, [*sweep.arguments()[2:], *by_hand.split(), *more.split()]) == 0
    by_fingerprint = [record["fingerprint"] for record in sweep.records().values()]
    assert len(by_fingerprint) == 3 and len(set(by_fingerprint)) == 2


def test_a_stopped_sweep_of_legs_continues_with_the_same_command(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.write(LEGS)
    real, steps = State.advance, 0

    def stopping(state: State, batch: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in (3, 8, 14):
            os.kill(os.getpid(), signal.SIGTERM)
        real(state, batch)

    monkeypatch.setattr(State, "advance", stopping)
    codes = [sweep("--seeds", "1") for _ in range(4)]
    assert codes == [75, 75, 75, 0]
    assert len(sweep.records()) == 3
    assert sweep.query("SELECT count(*) FROM runs") == [(3,)]


def test_a_run_whose_source_fails_or_is_left_out_is_named_and_not_begun(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = LEGS.replace("epochs: 1}", "epochs: 1}, optim: {lr: 1.0e+30}")
    sweep.write(failing)
    assert sweep("--retries", "0", "--seeds", "1") == 1
    err = capsys.readouterr().err
    assert "1/second/s0: not begun: 1/first/s0, whose weights it needs, has no result" in err
    assert "1/third/s0: not begun" in err
    assert [record["status"] for record in sweep.records().values()] == ["failed"]
    assert sweep("--only", "1/third/s1") == 1
    assert "1/third/s1: not begun" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("c", "", "weights_from: c: no run of this name comes before"),
        ("b", "", "weights_from: b: no run of this name comes before"),
        ("2/a", "", "weights_from: 2/a: no run of this name comes before; did you mean 1/a?"),
        ("a", "settings: {model: {weights: x}}", "model.weights is given too; keep one"),
        ("a", "settings: {model: {widths: [8]}}", "weights_from: 1/a: other types or shapes: "),
        ("a", "settings: {model: {init: he_normal}}", "no weight is drawn"),
    ],
)
def test_sources_that_cannot_be_used_are_refused_before_anything_begins(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], source: str, more: str, words: str
) -> None:
    text = ONE.replace("WEIGHTS}", f"{source}, {more}}}" if more else f"{source}}}")
    sweep.write(text)
    assert sweep("--dry-run") == 2
    err = capsys.readouterr().err
    assert words in err and f"{sweep.path}, line 11: " in err
    assert not sweep.root.exists()


def test_a_file_of_weights_is_a_setting_like_any_other(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sweep.write('  - {id: "0", title: Source}', name="source")
    assert sweep(path=source) == 0
    ((folder, record),) = sweep.records().items()
    weights = sweep.root / folder / "weights.safetensors"
    sweep.write(f'  - {{id: "1", title: x, axes: {{model.weights: ["", {weights}]}}}}')
    assert sweep() == 0
    records = sweep.records()
    assert len(records) == 2  # without weights it is the source itself
    (started,) = [each for name, each in records.items() if name != folder]
    assert started["initial_weights"]["sha256"] == record["weights_sha256"]
    sweep.write(f'  - {{id: "1", title: x, settings: {{model: {{weights: {weights}x}}}}}}')
    capsys.readouterr()
    assert sweep("--dry-run") == 2
    assert f"line 7: model.weights: {weights}x: no such file" in capsys.readouterr().err
