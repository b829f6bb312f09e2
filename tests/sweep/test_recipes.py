"""The recipes are the catalogue's, row by row, and can be laid over any other settings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.config import checks, options
from engine.config.schema import Config
from engine.data.order import split
from engine.data.sets import NOT_NORMALISED
from engine.optim.schedules import moves_every_step, moves_momentum, rates
from tests.support.paths import ROOT, SHARED

FOLDER = ROOT / "configs" / "recipes"
FILES = sorted(FOLDER.glob("*.yaml"))

# What report, code and ancestor say (the catalogue, section 2). Where a source is silent stands
# what the recipe's header says is taken in its place. K: .4914/.4822/.4465 over .2023/.1994/.2010;
# K': the same mean over .247/.243/.261; file: as the training file records; the last column is
# how much is held out.
TABLE = """
id  | optimizer       | lr   | schedule              | epochs | batch | decay  | clip      | lookahead | augmentation          | normalised | held out
T0  | sgd 0.9         | 0.1  | cosine 200 by epoch   | 200    | 128   | 0.0005 | norm 0.1  | 5, 0.5    | crop 4 zeros, flip    | K          | 0
T0c | sgd 0.9         | 0.1  | cosine 200 by epoch   | 30     | 128   | 0.0005 | value 0.1 | none      | crop 4 zeros, flip    | K          | 0
T0r | sgd 0.9         | 0.1  | cosine 200 by epoch   | 200    | 128   | 0.0005 | none      | none      | none                  | not        | 0
TA  | sgd 0.9         | 0.1  | cosine 200 by epoch   | 200    | 128   | 0.0005 | value 0.1 | 5, 0.5    | crop 4 zeros, flip    | K          | 0
T1  | adam 0.9, 0.999 | 0.1  | cosine 200 by epoch   | 80     | 128   | 0      | none      | none      | crop 4 zeros, flip    | K          | 0
T1b | adam 0.9, 0.999 | 0.1  | cosine 200 by epoch   | 50     | 128   | 0      | none      | none      | crop 4 zeros, flip    | K          | 0
T2  | sgd 0.9         | 0.1  | cosine 200 by epoch   | 200    | 128   | 0.0005 | value 0.1 | none      | crop 4 reflect, flip  | K          | 0
T2c | sgd 0.9         | 0.1  | cosine 200 by epoch   | 200    | 128   | 0.0005 | value 0.1 | none      | crop 4 zeros, flip    | K          | 0
T3  | adam 0.9, 0.999 | 0.01 | onecycle 100 by step  | 100    | 256   | 0.0001 | norm 0.1  | none      | crop 4 reflect, flip  | file       | 0.02
T3c | adam 0.9, 0.999 | 0.01 | onecycle 100 by step  | 100    | 256   | 0.0001 | value 0.1 | none      | crop 4 reflect, flip  | K'         | 0.02
T3x | adam 0.9, 0.999 | 0.001| constant              | 50     | 128   | 0      | none      | none      | none                  | K'         | 0.02
T4  | sgd 0.9         | 0.1  | cosine 200 by epoch   | 200    | 128   | 0.0005 | none      | none      | crop 4 zeros, flip    | K          | 0
"""  # noqa: E501
LINES = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
ROWS = {line[0]: dict(zip(LINES[0][1:], line[1:], strict=True)) for line in LINES[1:]}
CONSTANTS = {
    "K": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "K'": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "file": ("data", "data"),
}


def read(*paths: Path) -> Config:
    argv = [word for path in paths for word in ("--config-file", str(path))]
    return options.read(Config, argv, program="test", summary="", checks=checks.TRAINING).config


def recipe(name: str) -> Config:
    return read(FOLDER / f"{name}.yaml")


def row_of(config: Config) -> dict[str, str]:
    """A configuration in the words of the table."""
    optim, schedule, augment = config.optim, config.schedule, config.augment
    moved = "step" if moves_every_step(schedule) else "epoch"
    clips = [("value", optim.clip_value), ("norm", optim.clip_norm)]
    changes = [f"crop {augment.crop_padding} {augment.padding_mode}"] * bool(augment.crop_padding)
    changes += {"random": ["flip"], "none": []}.get(augment.flip, [augment.flip])
    changes += ["autoaugment"] * augment.autoaugment + ["cutout"] * bool(augment.cutout)
    constants = [name for name, both in CONSTANTS.items() if both == (augment.mean, augment.std)]
    length = f" {schedule.t_max or config.train.epochs:g} by {moved}"
    lookahead = f"{optim.lookahead_k}, {optim.lookahead_alpha}" if optim.lookahead_k else "none"
    return {
        "optimizer": f"{optim.name} "
        + ", ".join(map(str, optim.betas if optim.name == "adam" else (optim.momentum,)))
        + " nesterov" * optim.nesterov,
        "lr": f"{optim.lr:g}",
        "schedule": schedule.name + length * (schedule.name != "constant"),
        "epochs": str(config.train.epochs),
        "batch": str(config.train.batch_size),
        "decay": f"{optim.weight_decay:g}",
        "clip": ", ".join(f"{kind} {limit}" for kind, limit in clips if limit) or "none",
        "lookahead": lookahead,
        "augmentation": ", ".join(changes) or "none",
        "normalised": constants[0] if augment.normalize else "not",
        "held out": f"{config.data.validation:g}",
    }


def test_every_recipe_of_the_catalogue_is_there_and_no_other() -> None:
    assert {path.stem for path in FILES} == set(ROWS)


def test_the_table_above_names_every_recipe_of_the_catalogue() -> None:
    catalogue = SHARED / "reports" / "catalogue.md"
    if not catalogue.exists():
        pytest.skip("the catalogue does not lie in ../shared/reports")
    text = catalogue.read_text(encoding="utf-8")
    section = text[text.index("## 2. Training recipes") : text.index("## 3. Experiments")]
    assert set(re.findall(r"^\| (T\w+) \|", section, re.MULTILINE)) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_equals_its_row_of_the_catalogue(name: str) -> None:
    assert row_of(recipe(name)) == ROWS[name]


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_names_no_network_and_keeps_the_other_defaults(name: str) -> None:
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert set(content) == {"data", "augment", "train", "optim", "schedule"}
    assert set(content["data"]) == {"validation"}
    assert set(content["train"]) == {"epochs", "batch_size"}
    config, plain = recipe(name), Config()
    assert config.model == plain.model  # and so PyTorch's own initialisation, as in every recipe
    assert config.train.seed == plain.train.seed


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_overrides_every_setting_of_any_other(name: str) -> None:
    """So that it can be laid over another file of this project, and nothing of that shows."""
    for other in ("resnet22222_maxpool_skip.yaml", "resnet453.yaml", "recipes/TA.yaml"):
        over = read(ROOT / "configs" / other, FOLDER / f"{name}.yaml")
        assert row_of(over) == ROWS[name]
        assert rates(over, 1234, 192) == rates(recipe(name), 1234, 192)


@pytest.mark.parametrize("name", ROWS)
def test_a_recipes_header_says_where_it_is_from_how_to_use_it_and_when_it_stops(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines[: lines.index("data:")])
    assert all(line.startswith("#") for line in header.splitlines())
    assert header.startswith(f"# {name}: ")
    assert f"--config-file configs/recipes/{name}.yaml \\\n#             --model.name " in header
    for key in ("source", "stopping"):
        assert re.search(rf"^# {key}: +\S", header, re.MULTILINE)


@pytest.mark.parametrize(("reported", "ran"), [("T0", "T0c"), ("T2", "T2c"), ("T3", "T3c")])
def test_a_reports_recipe_and_that_of_its_code_are_kept_apart(reported: str, ran: str) -> None:
    assert row_of(recipe(reported)) != row_of(recipe(ran))
    for name, other in ((reported, ran), (ran, reported)):
        key = "code" if name == reported else "report"
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        assert re.search(rf"^# {key}: +differs \({other}\)", text, re.MULTILINE)


def test_the_learning_rates_are_those_of_the_catalogue() -> None:
    def lr(name: str, epoch: int, steps: int = 391) -> float:
        return rates(recipe(name), epoch * steps, steps).lr

    assert lr("T0c", 29) == pytest.approx(0.0949, abs=5e-5)
    assert lr("T1", 79) == pytest.approx(0.0662, abs=5e-5)
    assert lr("T4", 214) == pytest.approx(0.0012, abs=5e-5)  # past T_max, and rising
    assert lr("T4", 200) == 0.0 < lr("T4", 201) < lr("T4", 247)
    assert lr("T4", 400) == pytest.approx(0.1)  # the period
    t3c = recipe("T3c")
    first, peak, last = (rates(t3c, step, 192) for step in (0, 30 * 192 - 1, 100 * 192 - 1))
    assert first == pytest.approx((4e-4, 0.95, 0.0))
    assert peak == pytest.approx((0.01, 0.85, 0.0))
    assert last == pytest.approx((4e-8, 0.95, 0.0))
    assert moves_momentum(t3c.schedule)


def test_report_003_trains_on_49_000_images_in_192_steps_and_validates_on_1_000() -> None:
    for name in ("T3", "T3c", "T3x"):
        held_out = recipe(name).data.validation * 50_000
        train, watched = split(50_000, round(held_out), seed=0)
        assert (len(train), len(watched)) == (49_000, 1_000)
        assert len(np.intersect1d(train, watched)) == 0
    assert -(-len(train) // recipe("T3c").train.batch_size) == 192


def test_lookahead_starts_as_the_ancestors_did() -> None:
    assert {recipe(name).optim.lookahead_start for name in ("T0", "TA")} == {"first"}


def test_pixels_that_are_not_normalised_go_from_0_to_1() -> None:
    assert NOT_NORMALISED == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not recipe("T0r").augment.normalize
