"""A plan says of every run what it is, what it costs, and where it will lie, before it begins."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.config import checks
from engine.config.schema import Config, Schedule, Train, from_dict
from engine.config.settings import settings_of
from engine.errors import run_command
from engine.model import budget, resolve
from engine.sweep.driver import ordered
from engine.sweep.plan import PlannedRun, different
from engine.sweep.scale import LENGTHS, WHOLE_LENGTHS, scaled
from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files
from tests.support.sweeps import Sweep


def _plan(sweep: Sweep, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert sweep("--dry-run", "--json", *more) == 0
    content = json.loads(capsys.readouterr().out)
    assert isinstance(content, dict)
    return content


def test_axes_are_multiplied_and_named_in_the_order_of_the_file(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = _plan(Sweep(tmp_path, files), capsys, "--seeds", "2")
    names = [run["name"] for run in plan["runs"]]
    assert names[:3] == [
        "1/lr=0.05,momentum=0.5/s0",
        "1/lr=0.05,momentum=0.5/s1",
        "1/lr=0.05,momentum=0.9/s0",
    ]
    assert len(set(names)) == 8
    for run in plan["runs"]:
        lr, momentum = run["differs"]["optim.lr"], run["differs"]["optim.momentum"]
        assert run["name"].startswith(f"1/lr={lr},momentum={momentum}/")
        assert run["config"]["optim"]["lr"] == lr
        assert run["config"]["train"]["seed"] == run["seed"]
        assert bool(run["reported"]) == ((lr, momentum) == (0.1, 0.9))
    (claim,) = plan["runs"][-1]["reported"]
    assert claim == {"value": 55.5, "evidence": "log", "statistic": "best", "note": ""}
    assert not (tmp_path / "runs").exists(), "a dry run writes nothing"


def test_later_settings_win_from_the_recipe_to_the_command_line(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipes").mkdir()
    recipe = "optim: {lr: 1, momentum: 0.1, weight_decay: 1, eps: 1}\ndata: {validation: 9}\n"
    recipe += "train: {evaluate_every: 7, batch_size: 16}"
    (tmp_path / "recipes" / "R.yaml").write_text(recipe)
    (tmp_path / "recipes" / "R2.yaml").write_text("optim: {eps: 2}\n")
    sweep = Sweep(tmp_path, files)
    sweep.path.write_text(
        """
title: Layers
report: A
settings: {optim: {lr: 2, momentum: 0.2, weight_decay: 2}, model: {blocks: [1, 1], widths: [4]}}
seeds: [5]
experiments:
  - id: a
    title: One
    recipe: R
    why: it says so
    seeds: [6, 7]
    settings: {optim: {lr: 3, momentum: 0.3}, data: {train: elsewhere.beton}}
    runs:
      - {name: x, settings: {optim.lr: 4}, notes: [odd]}
      - {name: y, recipe: R2, why: another}
    notes: [even]
  - {id: b, title: Two}
"""
    )
    plan = _plan(sweep, capsys)
    by_name = {run["name"]: run for run in plan["runs"]}
    assert list(by_name) == ["a/x/s6", "a/x/s7", "a/y/s6", "a/y/s7", "b/resnet11_w4/s5"]
    x, y = by_name["a/x/s6"], by_name["a/y/s7"]
    optim = x["config"]["optim"]
    assert (optim["lr"], optim["momentum"], optim["weight_decay"], optim["eps"]) == (4, 0.3, 2, 1)
    assert x["config"]["train"]["evaluate_every"] == 7
    assert x["config"]["data"]["train"] == str(files.train)  # of the command line
    assert (x["recipe"], x["why"], x["notes"]) == ("R", "it says so", ["even", "odd"])
    assert (y["recipe"], y["why"]) == ("R2", "another")
    assert y["config"]["optim"]["eps"] == 2 and y["config"]["train"]["evaluate_every"] == 1
    assert by_name["b/resnet11_w4/s5"]["recipe"] is None


def test_a_run_lies_where_the_plan_says_with_the_plans_fingerprint_parameters_and_cost(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, files)
    first = _plan(sweep, capsys)["runs"][0]
    config = from_dict(first["config"])
    assert run_command(train.main, sweep.words()[2:] + _as_flags(config)) == 0
    ((folder, record),) = sweep.records().items()
    assert folder.endswith(first["fingerprint"][:8])  # engine.train calls such a net `run`
    assert record["fingerprint"] == first["fingerprint"]
    assert record["params"] == first["params"]
    assert record["variant"] == first["variant"]
    images = record["flops"]["training"] * TRAIN_IMAGES + record["flops"]["forward"] * TEST_IMAGES
    assert first["petaflops"] == pytest.approx(2 * images / 1e15)
    assert _plan(sweep, capsys)["runs"][0]["state"] == "done"


def _as_flags(config: Config) -> list[str]:
    return (
        f"--optim.lr {config.optim.lr} --optim.momentum {config.optim.momentum} --train.epochs 2 "
        "--train.batch_size 16 --model.blocks 1,1 --model.widths 4"
    ).split()


def test_limited_data_and_held_out_images_count_in_the_cost(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, files)
    plan = _plan(sweep, capsys, "--data.limit", "40", "--data.validation", "10")
    run = plan["runs"][0]
    flops = budget.flops(resolve(from_dict(run["config"]).model), 4)
    # two epochs over 30 images, two looks at the 10 that are held out, one at 40 of the test set
    wanted = flops.training * 60 + flops.forward * (20 + 40)
    assert run["petaflops"] == pytest.approx(wanted / 1e15)
    assert plan["conditions"] == {"epochs_scale": 1.0, "data_limit": 40}


def test_only_matches_runs_experiments_and_reports(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, files)
    for glob, count in (("1", 4), ("999", 4), ("1/lr=0.1*", 2), ("*/s0", 4), ("1/*=0.5/s0", 2)):
        assert _plan(sweep, capsys, "--only", glob)["totals"]["runs"] == count, glob
    both = ("--only", "1/lr=0.1*", "--only", "1/lr=0.05,momentum=0.5")
    assert _plan(sweep, capsys, *both)["totals"]["runs"] == 3


def test_a_missing_data_set_stops_a_run_but_not_a_look_at_the_plan(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, files)
    nowhere = Files(tmp_path / "no.beton", tmp_path / "none.beton")
    sweep.files = nowhere
    assert sweep("--dry-run") == 0
    out, err = capsys.readouterr()
    assert "no.beton: no such file" in err and "CIFAR-10 is assumed" in err
    assert "4 runs: 4 to do" in out
    assert sweep() == 2
    assert "no such file; write it with: python writers/cifar.py" in capsys.readouterr().err
    assert not sweep.root.exists()


def test_runs_of_one_architecture_follow_one_another_and_each_comes_once() -> None:
    runs = [_run(variant, number) for number, variant in enumerate("abacab")]
    runs.append(runs[1])
    order = ordered(different(runs))
    assert "".join(run.variant for run in order) == "aaabbc"
    assert [run.seed for run in order] == [0, 2, 4, 1, 5, 3]


def _run(variant: str, number: int) -> PlannedRun:
    return PlannedRun(
        name=f"x/{number}", point="x", report="", experiment="x", title="", recipe=None, why="",
        variant=variant, params=1, petaflops=1.0, seed=number, config=Config(), differs={},
        fingerprint=f"{number}", folder="", reported=(), notes=(), epochs_unscaled=200,
    )  # fmt: skip


def _config(epochs: int, **schedule: Any) -> Config:
    return Config(train=Train(epochs=epochs), schedule=Schedule(**schedule))


def test_a_rehearsal_shortens_everything_that_is_counted_in_epochs() -> None:
    config = scaled(_config(30, name="cosine", t_max=200.0), 0.1)
    assert config.train.epochs == 3
    assert config.schedule.t_max == pytest.approx(20)
    config = scaled(_config(200, name="multistep", milestones=(6, 8, 9, 150)), 0.05)
    assert config.schedule.milestones == (1, 2, 3, 8), "each fall stays a fall"
    config = scaled(_config(200, name="restarts", period=10), 0.05)
    assert config.schedule.period == 1
    config = scaled(_config(200, name="cyclic", rise=5.0, fall=0.0), 0.1)
    assert (config.schedule.rise, config.schedule.fall) == (0.5, 0.0)
    assert scaled(_config(3), 0.001).train.epochs == 1
    whole = _config(101, name="onecycle", t_max=100.0, per="epoch")
    assert scaled(whole, 1.0) is whole
    assert scaled(whole, 0.05).schedule.t_max + 1 >= scaled(whole, 0.05).train.epochs


SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "cosine": {"t_max": 200.0},
    "restarts": {"period": 10},
    "onecycle": {"t_max": 100.0},
    "cyclic": {"rise": 5.0},
    "step": {"step_size": 2},
    "multistep": {"milestones": (6, 8, 9)},
    "exponential": {},
    "multiplicative": {},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rehearsal_is_a_run_that_engine_train_takes(name: str) -> None:
    assert set(SCHEDULES) == set(settings_of(Config)["schedule.name"].limits.choices)
    config = _config(100, name=name, **SCHEDULES[name])
    for factor in (0.5, 0.05, 0.005):
        for check in checks.TRAINING:
            assert list(check.problems(scaled(config, factor))) == []


def test_no_setting_that_is_counted_in_epochs_is_forgotten() -> None:
    counted = {
        key for key, setting in settings_of(Config).items() if "epochs" in setting.limits.doc
    }
    scaled_ones = {f"schedule.{name}" for name in (*LENGTHS, *WHOLE_LENGTHS, "milestones")}
    known = {"train.evaluate_every", "checkpoint.every_epochs", "schedule.period_factor"}
    assert counted - known == scaled_ones, "a new length has to be scaled, or named here"
    assert dataclasses.replace(Train(epochs=9)).epochs == scaled(_config(9), 1.0).train.epochs


def test_a_rehearsal_is_another_run_and_says_so(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path, files)
    whole, half = _plan(sweep, capsys), _plan(sweep, capsys, "--epochs-scale", "0.5")
    assert half["conditions"]["epochs_scale"] == 0.5
    fingerprints = [{run["fingerprint"] for run in plan["runs"]} for plan in (whole, half)]
    assert not fingerprints[0] & fingerprints[1]
    assert sweep("--epochs-scale", "0.5", "--only", "1/lr=0.1,momentum=0.9/*") == 0
    assert "1 of 2 epochs, fp32" in capsys.readouterr().out
    assert sweep.queue("few.epochs-0.5").exists()
    assert (
        len(json.loads((sweep.queue("few.epochs-0.5").parent / "plan.json").read_text())["runs"])
        == 4
    )
