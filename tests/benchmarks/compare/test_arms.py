"""`python -m benchmarks.compare RUNS --by SETTING`: the arms of one folder against a reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import __main__ as compare
from benchmarks.compare.arms import of_arms
from engine.errors import run_command
from engine.statistics import welch
from tests.support.records import plan_entry, record, write_plan, write_run

Compare = Callable[..., tuple[int, str, str]]
CUTOUT = {0: (0.950, 0.951, 0.952), 8: (0.960, 0.961, 0.962), 16: (0.9505, 0.951, 0.9515)}


@pytest.fixture
def comparing(capsys: pytest.CaptureFixture[str]) -> Compare:
    def call(*flags: object) -> tuple[int, str, str]:
        code = run_command(compare.main, [str(flag) for flag in flags])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def arm(root: Path, name: str, accuracies: tuple[float, ...], **settings: Any) -> None:
    """Runs with these settings, one per seed."""
    for seed, accuracy in enumerate(accuracies):
        content = record(seed=seed, accuracy=accuracy, settings=settings)
        write_run(root, f"{name}-{seed}", content)


@pytest.fixture
def cutout(tmp_path: Path) -> Path:
    for side, accuracies in CUTOUT.items():
        arm(tmp_path, f"cutout{side}", accuracies, augment={"cutout": side})
    return tmp_path


def test_each_value_of_a_setting_is_compared_with_the_default(
    cutout: Path, comparing: Compare
) -> None:
    code, out, err = comparing(cutout, "--by", "augment.cutout")
    rows = [line for line in out.splitlines() if "test accuracy" in line]
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in rows] == [
        "resnet453: augment.cutout 0 -> 8",
        "resnet453: augment.cutout 0 -> 16",
    ]
    assert rows[0].endswith("better") and rows[1].endswith("within noise")
    assert rows[0].count("(n = 3)") == 2 and "+1.00 points" in rows[0]


def test_the_json_has_welchs_difference_of_each_pair(cutout: Path, comparing: Compare) -> None:
    _, out, _ = comparing(cutout, "--by", "augment.cutout", "--json")
    accuracy = json.loads(out)[0]
    percent = {side: [100 * each for each in values] for side, values in CUTOUT.items()}
    expected = welch(percent[8], percent[0])
    assert accuracy["difference"]["low"] == pytest.approx(expected.low)
    assert accuracy["what"] == "resnet453: augment.cutout 0 -> 8"
    assert (accuracy["first"]["n"], accuracy["verdict"]) == (3, "better")


def test_other_settings_are_matched_and_what_has_no_partner_is_noted(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for side in (0, 8):
            settings = {"augment": {"cutout": side}, "optim": {"lr": lr}}
            arm(tmp_path, f"{lr}-{side}", (0.95, 0.951), **settings)
    arm(tmp_path, "alone", (0.95,), augment={"cutout": 8}, optim={"lr": 0.4})
    write_run(tmp_path, "stopped", record(seed=9) | {"status": "interrupted"})
    result = of_arms(tmp_path, "augment.cutout")
    assert [each.what for each in result.comparisons if each.unit == "%"] == [
        f"resnet453, optim.lr={lr}: augment.cutout 0 -> 8" for lr in (0.1, 0.2)
    ]
    assert result.notes == [
        "stopped is interrupted: left out",
        "resnet453, optim.lr=0.4: only augment.cutout 8, nothing to compare it with",
    ]


def test_without_the_default_the_smallest_value_is_the_reference(tmp_path: Path) -> None:
    for epochs in (100, 20, 3):
        arm(tmp_path, str(epochs), (0.95, 0.951), train={"epochs": epochs})
    (first, _, second, _) = of_arms(tmp_path, "train.epochs").comparisons
    assert first.what == "resnet453: train.epochs 3 -> 20"
    assert second.what == "resnet453: train.epochs 3 -> 100"


def test_single_settings_are_compared_although_more_differs_which_is_noted(tmp_path: Path) -> None:
    arm(tmp_path, "sgd", (0.95, 0.951), optim={"name": "sgd", "lr": 0.1})
    arm(tmp_path, "adam", (0.94, 0.941), optim={"name": "adam", "lr": 0.001})
    result = of_arms(tmp_path, "optim.name")
    assert result.comparisons[0].what == "resnet453: optim.name sgd -> adam"
    assert result.comparisons[0].verdict == "worse"
    assert result.notes == [
        "resnet453: optim.name sgd -> adam: they also differ in optim.lr 0.1 and 0.001"
    ]


def test_networks_are_arms_by_their_name(tmp_path: Path) -> None:
    for variant in ("resnet453", "resnet1111"):
        for seed in range(2):
            write_run(tmp_path, f"{variant}-{seed}", record(variant, seed))
    result = of_arms(tmp_path, "model.name")
    names = "resnet1111 / resnet453: model.name resnet1111 -> resnet453"
    assert result.comparisons[0].what == names


def test_a_record_without_the_setting_has_its_default(tmp_path: Path) -> None:
    arm(tmp_path, "new", (0.95, 0.951), augment={"cutout": 8})
    for seed in range(2):
        content = record(seed=seed)
        del content["config"]["augment"]["cutout"], content["config"]["model"]["weights"]
        write_run(tmp_path, f"old-{seed}", content)
    (accuracy, _) = of_arms(tmp_path, "augment.cutout").comparisons
    assert accuracy.what == "resnet453: augment.cutout 0 -> 8"


def test_by_run_compares_the_runs_of_each_experiment_of_a_sweep(
    cutout: Path, comparing: Compare
) -> None:
    entries = []
    for path in sorted(cutout.glob("cutout*/record.json")):
        content = json.loads(path.read_text())
        side = content["config"]["augment"]["cutout"]
        if side != 16:
            entries.append(plan_entry(content, f"4.5/cutout={side}/s{content['seed']}"))
    write_plan(cutout, entries)
    code, out, err = comparing(cutout, "--by", "run")
    (row,) = [line for line in out.splitlines() if "test accuracy" in line]
    assert code == 0
    assert row.startswith("report_004 4.5 Model 5: cutout=0 -> cutout=8  ") and "better" in row
    assert "they also differ in augment.cutout 0 and 8" in err
    assert "cutout16-0 is in no plan of a sweep: left out" in err


def test_an_arm_of_mixed_conditions_is_refused(cutout: Path, comparing: Compare) -> None:
    write_run(cutout, "other", record(seed=7, precision="fp32"))
    code, out, err = comparing(cutout, "--by", "augment.cutout")
    assert (code, out) == (2, "")
    assert "made under different conditions" in err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--by", "augment.cutot"], 2, "no such setting; did you mean augment.cutout?"),
        (["--by", "train.seed"], 2, "runs that differ in their seed repeat one another"),
        (["--by", "run"], 2, "has no plan of a sweep; name a setting"),
        (["{runs}", "--by", "optim.lr"], 2, "--by: compares the runs of one folder"),
        (["--by", "optim.lr", "--assert-equal"], 2, "runs of different settings have different"),
        (["--by", "optim.lr"], 1, "has no runs that differ in optim.lr alone"),
        ([], 2, "the following arguments are required: B (or --by SETTING)"),
    ],
)
def test_mistakes_are_reported_in_a_line(
    cutout: Path, comparing: Compare, flags: list[str], code: int, words: str
) -> None:
    result = comparing(cutout, *(flag.format(runs=cutout) for flag in flags))
    assert (result[0], result[1]) == (code, "")
    assert words in result[2]
    assert "needs a folder of runs" in comparing(cutout / "cutout0-0" / "log.jsonl", "--by", "x")[2]
