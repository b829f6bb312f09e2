"""The plan has every run with its settings, cost, fingerprint and folder before it begins."""

from __future__ import annotations

import json

import pytest

from engine import train
from engine.config.schema import Config, from_dict
from engine.errors import run_command
from engine.model import budget, resolve
from engine.sweep.driver import ordered
from engine.sweep.planned import different
from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files
from tests.support.sweeps import Sweep, planned_run


def test_axes_are_multiplied_and_named_in_the_order_of_the_file(sweep: Sweep) -> None:
    plan = sweep.plan("--seeds", "2")
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
    known = {"value": 55.5, "evidence": "log", "statistic": "best", "note": ""}
    assert claim == known | {"precision": 0.05}  # of its rounding
    assert not sweep.root.exists(), "a dry run writes nothing"


def test_later_settings_win_from_the_recipe_to_the_command_line(sweep: Sweep) -> None:
    recipes = sweep.folder / "recipes"
    recipes.mkdir()
    recipe = "optim: {lr: 1, momentum: 0.1, weight_decay: 1, eps: 1}\ndata: {validation: 9}\n"
    recipe += "train: {evaluate_every: 7, batch_size: 16}"
    (recipes / "R.yaml").write_text(recipe)
    (recipes / "R2.yaml").write_text("optim: {eps: 2}\n")
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
    plan = sweep.plan()
    by_name = {run["name"]: run for run in plan["runs"]}
    assert list(by_name) == ["a/x/s6", "a/x/s7", "a/y/s6", "a/y/s7", "b/resnet11_w4/s5"]
    x, y = by_name["a/x/s6"], by_name["a/y/s7"]
    optim = x["config"]["optim"]
    assert (optim["lr"], optim["momentum"], optim["weight_decay"], optim["eps"]) == (4, 0.3, 2, 1)
    assert x["config"]["train"]["evaluate_every"] == 7
    assert x["config"]["data"]["train"] == str(sweep.files.train)  # of the command line
    assert (x["recipe"], x["why"], x["notes"]) == ("R", "it says so", ["even", "odd"])
    assert (y["recipe"], y["why"]) == ("R2", "another")
    assert y["config"]["optim"]["eps"] == 2 and y["config"]["train"]["evaluate_every"] == 1
    assert by_name["b/resnet11_w4/s5"]["recipe"] is None


def test_a_run_has_the_folder_fingerprint_parameters_and_cost_of_its_plan(sweep: Sweep) -> None:
    first = sweep.plan()["runs"][0]
    config = from_dict(first["config"])
    assert run_command(train.main, sweep.arguments()[2:] + _as_flags(config)) == 0
    ((folder, record),) = sweep.records().items()
    assert folder.endswith(first["fingerprint"][:8])  # engine.train calls such a net `run`
    assert record["fingerprint"] == first["fingerprint"]
    assert record["params"] == first["params"]
    assert record["variant"] == first["variant"]
    images = record["flops"]["training"] * TRAIN_IMAGES + record["flops"]["forward"] * TEST_IMAGES
    assert first["petaflops"] == pytest.approx(2 * images / 1e15)
    assert sweep.plan()["runs"][0]["state"] == "done"


def _as_flags(config: Config) -> list[str]:
    return (
        f"--optim.lr {config.optim.lr} --optim.momentum {config.optim.momentum} --train.epochs 2 "
        "--train.batch_size 16 --model.blocks 1,1 --model.widths 4"
    ).split()


def test_limited_data_and_held_out_images_count_in_the_cost(sweep: Sweep) -> None:
    plan = sweep.plan("--data.limit", "40", "--data.validation", "10")
    run = plan["runs"][0]
    flops = budget.flops(resolve(from_dict(run["config"]).model), 4)
    # two epochs over 30 images, two evaluations of the 10 held out, one of 40 test images
    expected = flops.training * 60 + flops.forward * (20 + 40)
    assert run["petaflops"] == pytest.approx(expected / 1e15)
    assert plan["conditions"] == {"epochs_scale": 1.0, "data_limit": 40}


def test_parts_of_epochs_small_images_and_views_count_in_the_cost(sweep: Sweep) -> None:
    small = "augment: {sizes: [16], sizes_until: [0.5]}, train: {tta: six}"
    sweep.write(f"  - {{id: '1', title: Small, settings: {{{small}}}}}\n", epochs=1.6)
    run = sweep.plan()["runs"][0]
    config = from_dict(run["config"])
    size, variant = config.train.batch_size, resolve(config.model)
    per_epoch = -(-TRAIN_IMAGES // size)
    steps = round(1.6 * per_epoch)
    batches = [min(size, TRAIN_IMAGES - n % per_epoch * size) for n in range(steps)]
    costs = [budget.flops(variant, 4, side=16 if n / steps < 0.5 else 32) for n in range(steps)]
    training = sum(n * each.training for n, each in zip(batches, costs, strict=True))
    views = (
        2 + 6
    ) * TEST_IMAGES  # each of the two epochs is evaluated, the second by six views too
    expected = training + views * budget.flops(variant, 4).forward
    assert run["petaflops"] == pytest.approx(expected / 1e15)
    assert config.train.epochs == 1.6


def test_only_matches_runs_experiments_and_reports(sweep: Sweep) -> None:
    for glob, count in (("1", 4), ("999", 4), ("1/lr=0.1*", 2), ("*/s0", 4), ("1/*=0.5/s0", 2)):
        assert sweep.plan("--only", glob)["totals"]["runs"] == count, glob
    both = ("--only", "1/lr=0.1*", "--only", "1/lr=0.05,momentum=0.5")
    assert sweep.plan(*both)["totals"]["runs"] == 3


def test_a_missing_data_set_stops_a_run_but_not_a_dry_run(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.files = Files(sweep.folder / "no.beton", sweep.folder / "none.beton")
    assert sweep("--dry-run") == 0
    out, err = capsys.readouterr()
    assert "no.beton: no such file" in err and "CIFAR-10 is assumed" in err
    assert "4 runs: 4 to do" in out
    assert sweep() == 2
    assert (
        "no such file; write it from its source, as docs/own_data.md says"
        in capsys.readouterr().err
    )
    assert not sweep.root.exists()


def test_runs_of_one_architecture_follow_one_another_and_each_comes_once() -> None:
    runs = [planned_run("x", seed, variant=variant) for seed, variant in enumerate("abacab")]
    runs.append(runs[1])
    order = ordered(different(runs))
    assert "".join(run.variant for run in order) == "aaabbc"
    assert [run.seed for run in order] == [0, 2, 4, 1, 5, 3]


def test_a_rehearsal_is_another_run_and_says_so(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, half = sweep.plan(), sweep.plan("--epochs-scale", "0.5")
    assert half["conditions"]["epochs_scale"] == 0.5
    fingerprints = [{run["fingerprint"] for run in plan["runs"]} for plan in (whole, half)]
    assert not fingerprints[0] & fingerprints[1]
    assert sweep("--epochs-scale", "0.5", "--only", "1/lr=0.1,momentum=0.9/*") == 0
    assert "1 of 2 epochs, fp32" in capsys.readouterr().out
    plan = json.loads(sweep.queue("few.epochs-0.5").with_name("plan.json").read_text())
    assert len(plan["runs"]) == 4
