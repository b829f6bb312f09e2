"""Hours of planned runs: from the machine's rates, corrected by measured networks of like work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import Config, Model, Runtime, Train, as_dict
from engine.model import VARIANTS, budget
from engine.step.rates import Rates
from engine.sweep.dry_run import Overview
from engine.sweep.estimate import Speeds
from engine.sweep.planned import Plan, PlannedRun
from engine.sweep.records import Record, Records
from tests.support.sweeps import planned_run

MACHINE = Rates("a machine", "bf16", product=1e12, copy=2e10)
RATES: Mapping[str, Rates] = {"auto": MACHINE}
LARGE = ("resnet453", "se_resnet443", "resnet224", "resnet1111", "resnet2111")


def run_of(name: str, **runtime: Any) -> PlannedRun:
    """10 epochs of 50,000 images, without evaluation."""
    work = budget.flops(VARIANTS[name]).training * 500_000
    config = Config(model=Model(name=name), train=Train(epochs=10), runtime=Runtime(**runtime))
    point = f"1/{''.join((name, *runtime.values()))}"
    return planned_run(point, config=config, variant=name, petaflops=work / 1e15)


def record_of(name: str, seconds: float, **more: Any) -> Record:
    """A run that took `seconds` per image."""
    return {
        "device": "a machine", "precision": "bf16", "compiled": False, "image_side": 32,
        "config": as_dict(Config(model=Model(name=name, budget=0))), "epochs": 3,
        "flops": {"training": budget.flops(VARIANTS[name]).training},
        "images_per_second": 1 / seconds,
    } | more  # fmt: skip


def by_rates(name: str) -> float:
    """Seconds per image, by the rates alone."""
    variant = VARIANTS[name]
    return (
        budget.flops(variant).training / MACHINE.product
        + 2 * budget.training_traffic(variant) / MACHINE.copy
    )


def test_without_records_the_rates_of_the_machine_give_hours_marked_as_such() -> None:
    speeds = Speeds([], RATES)
    assert speeds.seconds(run_of("resnet453")) == pytest.approx(500_000 * by_rates("resnet453"))
    assert speeds.basis().startswith("hours from the machine alone, no run made here yet")
    assert "a matrix product at 1 TFLOP/s, a copy at 20 GB/s" in speeds.basis()
    (content,) = speeds.content()
    assert (content["networks"], content["median_error"], content["worst_error"]) == (0, None, None)


def test_a_measured_network_takes_its_own_time() -> None:
    records = [record_of("resnet453", seconds) for seconds in (0.010, 0.012, 0.030)]
    records.append(record_of("resnet1111", 0.001))
    speeds = Speeds(records, RATES)
    assert speeds.seconds(run_of("resnet453")) == pytest.approx(500_000 * 0.012)


def test_a_small_network_does_not_set_the_rate_of_large_ones() -> None:
    small = record_of("resnet111_w16", 20 * by_rates("resnet111_w16"))
    for name in LARGE:
        alone = Speeds([], RATES).seconds(run_of(name))
        assert Speeds([small], RATES).seconds(run_of(name)) == pytest.approx(alone, rel=0.3)
    near = Speeds([small], RATES).seconds(run_of("resnet2111_w16"))
    alone = Speeds([], RATES).seconds(run_of("resnet2111_w16"))
    assert near is not None and alone is not None and near > 3 * alone


def test_large_networks_correct_each_other_and_the_error_is_measured_by_leaving_one_out() -> None:
    records = [record_of(name, 3 * by_rates(name)) for name in LARGE]
    speeds = Speeds(records[:-1], RATES)
    for name in (LARGE[-1], "resnet18"):
        assert speeds.seconds(run_of(name)) == pytest.approx(1.5e6 * by_rates(name), rel=0.2)
    (content,) = Speeds(records, RATES).content()
    assert content["networks"] == 5
    assert 0 < content["median_error"] <= content["worst_error"] < 0.25
    basis = Speeds(records, RATES).basis()
    assert "corrected by the runs of 5 networks" in basis
    assert f"{content['worst_error']:.0%} (worst)" in basis


@pytest.mark.parametrize(
    "other",
    [
        {"device": "another"}, {"precision": "fp32"}, {"epochs": 1}, {"epochs": None},
        {"images_per_second": None}, {"images_per_second": 0}, {"image_side": 64},
        {"config": {}}, {"config": None}, {"flops": 3},
    ],
)  # fmt: skip
def test_only_runs_of_two_epochs_on_this_device_in_this_precision_count(
    other: dict[str, Any],
) -> None:
    run = run_of("resnet453")
    speeds = Speeds([record_of("resnet453", 0.5) | other], RATES)
    if "image_side" in other:  # another network, by its work
        assert speeds.content()[0]["networks"] == 1
    else:
        assert speeds.seconds(run) == Speeds([], RATES).seconds(run)


def test_the_dry_run_has_measured_hours_beside_those_estimated_without_them(
    tmp_path: Path,
) -> None:
    run = run_of("resnet453")
    own = record_of("resnet453", 0.02) | {
        "fingerprint": run.fingerprint, "status": "finished", "seconds": 7200.0,
        "test_accuracy": 0.9, "weights_sha256": "0" * 64,
    }  # fmt: skip
    other = record_of("resnet224", 2 * by_rates("resnet224"))
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "record.json").write_text(json.dumps(own))
    records, speeds = Records(tmp_path), Speeds([own, other], RATES)
    overview = Overview([run], records, {}, speeds)
    (content,) = overview.content(Plan("x", "x", "x", 1.0, 0, (run,)))["runs"]
    assert content["measured_hours"] == 2
    assert content["estimated_hours"] == pytest.approx(500_000 * 0.02 / 3600)
    by_others = Speeds([other], RATES).seconds(run)
    assert by_others is not None
    assert content["estimated_hours_by_others"] == pytest.approx(by_others / 3600)


def test_the_dry_run_shows_hours_of_each_run_and_of_all_that_is_left(tmp_path: Path) -> None:
    runs = [run_of("resnet453"), run_of("resnet1111"), run_of("resnet1111", precision="fp32")]
    overview = Overview(runs, Records(tmp_path), {}, Speeds([], RATES))
    text = overview.text()
    hours = [500_000 * by_rates(name) / 3600 for name in ("resnet453", "resnet1111")]
    assert [line.split()[5] for line in text.splitlines()[1:4]] == [
        f"{hours[0]:.2f}", f"{hours[1]:.2f}", "-",
    ]  # fmt: skip
    assert f"{sum(hours):.2f} hours left, one run at a time; 1 of unknown length" in text
    content = overview.content(Plan("x", "x", "x", 1.0, 0, tuple(runs)))
    assert [entry["estimated_hours"] is None for entry in content["runs"]] == [False, False, True]
    assert content["estimates"] == Speeds([], RATES).basis()
    assert content["estimated_from"] == Speeds([], RATES).content()
    unknown = Overview(runs, Records(tmp_path), {}, Speeds([], {})).text()
    assert "hours left unknown" in unknown
