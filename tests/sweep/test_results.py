"""The result of a sweep is the last epoch over seeds; the best epoch is labelled as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import Config, Data, Train
from engine.statistics import summary
from engine.sweep import results
from engine.sweep.planned import PlannedRun
from engine.sweep.queue_rows import SET_ASIDE, QueueRow
from engine.sweep.records import Records
from tests.support.sweeps import planned_run


def _record(root: Path, run: PlannedRun, accuracy: float, **more: Any) -> None:
    record = {
        "fingerprint": run.fingerprint, "status": "finished", "epochs": run.config.train.epochs,
        "precision": "bf16", "test_accuracy": accuracy, "best_test_accuracy": accuracy + 0.01,
        "best_validation_accuracy": None, "device": "a machine", "variant": run.variant,
        "images_per_second": 1000.0, "flops": {"training": 5e9, "forward": 2e9},
        "config": {"runtime": {"precision": "auto"}}, "weights_sha256": "0" * 64,
    } | more  # fmt: skip
    folder = root / run.fingerprint.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(record))


def test_the_result_is_the_last_epoch_over_seeds_with_its_interval(tmp_path: Path) -> None:
    runs = [planned_run("4.5/a", seed) for seed in range(3)]
    for run, accuracy in zip(runs, (0.95, 0.952, 0.957), strict=True):
        _record(tmp_path, run, accuracy)
    (result,) = results.select(runs, Records(tmp_path), {})
    expected = summary([95.0, 95.2, 95.7])
    content = result.content()
    last, best = content["last_epoch_test_accuracy"], content["best_epoch_on_the_test_set"]
    assert last["mean"] == pytest.approx(expected.mean) and last["n"] == 3
    assert last["std"] == pytest.approx(expected.std)
    assert (last["low"], last["high"]) == pytest.approx((expected.low, expected.high))
    assert best["mean"] == pytest.approx(expected.mean + 1)
    assert content["reported"] == [
        {"value": 95.66, "evidence": "report", "statistic": "best", "note": "epoch 189"}
    ]
    text = results.table([result])
    interval = f"[{expected.low:.2f}, {expected.high:.2f}]"
    assert f"{expected.mean:.2f} ± {expected.std:.2f} {interval}" in text
    assert "95.66 best (report)" in text
    assert "* best epoch, chosen on the test set: not a fair result" in text


def test_one_seed_has_neither_standard_deviation_nor_interval(tmp_path: Path) -> None:
    run = planned_run("4.5/a", 0)
    _record(tmp_path, run, 0.95)
    (result,) = results.select([run], Records(tmp_path), {})
    last = result.content()["last_epoch_test_accuracy"]
    assert (last["n"], last["std"], last["low"], last["high"]) == (1, None, None, None)
    assert "±" not in results.table([result]).splitlines()[1]


def test_different_conditions_are_never_averaged_together(tmp_path: Path) -> None:
    runs = [planned_run("4.5/a", seed) for seed in range(4)]
    for run, precision in zip(runs, ("bf16", "fp32", "bf16", "fp32"), strict=True):
        _record(tmp_path, run, 0.95 if precision == "bf16" else 0.5, precision=precision)
    scaled = Config(data=Data(limit=2000), train=Train(epochs=10))
    few = [planned_run("4.5/b", 0, config=scaled), planned_run("4.5/b", 1)]
    for run in few:
        _record(tmp_path, run, 0.3)
    selected = results.select([*runs, *few], Records(tmp_path), {})
    assert [(result.run.point, result.conditions.text(), result.seeds) for result in selected] == [
        ("4.5/a", "200 epochs, bf16", [0, 2]),
        ("4.5/a", "200 epochs, fp32", [1, 3]),
        ("4.5/b", "10 of 200 epochs, 2,000 images, bf16", [0]),
        ("4.5/b", "200 epochs, bf16", [1]),
    ]
    assert [set(result.last) for result in selected[:2]] == [{95.0}, {50.0}]


def test_held_out_images_choose_the_best_epoch_where_there_are_any(tmp_path: Path) -> None:
    run = planned_run("3.9/a", 0)
    validated = {"best_test_accuracy": None, "best_validation_accuracy": 0.9154}
    _record(tmp_path, run, 0.9101, **validated)
    (result,) = results.select([run], Records(tmp_path), {})
    assert result.content()["best_epoch_on_the_test_set"] is None
    assert "91.54 (validation)" in results.table([result])


def test_runs_without_a_result_are_listed_and_not_counted(tmp_path: Path) -> None:
    runs = [planned_run("4.5/a", seed) for seed in range(4)] + [planned_run("4.5/b", 0)]
    _record(tmp_path, runs[0], 0.95)
    _record(tmp_path, runs[1], 0.99, status="interrupted", epochs=7)
    _record(tmp_path, runs[2], 0.99, status="failed", error="loss became nan")
    rows = {runs[2].fingerprint: QueueRow(SET_ASIDE, 2, error="loss became nan")}
    selected = results.select(runs, Records(tmp_path), rows)
    assert [result.run.point for result in selected] == ["4.5/a", "4.5/b"]
    assert [result.last for result in selected] == [[95.0], []]
    states = [(entry["run"], entry["state"]) for entry in selected[0].content()["incomplete"]]
    assert states == [("4.5/a/s1", "stopped"), ("4.5/a/s2", "set aside"), ("4.5/a/s3", "to do")]
    text = results.table(selected)
    assert "4.5/a/s1: stopped, epoch 7/200" in text and "4.5/b/s0: to do" in text
