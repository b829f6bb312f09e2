"""`configs/sweeps/house94.yaml`: the house recipe, and the recipe without one ingredient."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from engine.config import options
from engine.config.schema import Config, as_dict
from engine.model import resolve
from engine.sweep.arguments import read
from engine.sweep.planned import PlannedRun
from tests.support.paths import ROOT

CHANGED = {  # by run: the sections that it changes
    "without_muon": {"optim", "schedule"},
    "without_lookahead": {"optim"},
    "without_average": {"optim"},
    "rates_to_0": {"schedule"},
    "without_sizes": {"augment"},
    "without_whitening": {"model", "optim"},
    "without_dirac": {"model"},
    "without_label_smoothing": {"train"},
    "random_flips": {"augment"},
    "bias_rates_times_4": {"optim"},
    "bias_rates_by_16": {"optim"},
}
LEARNING = ("augment", "model", "train", "optim", "schedule")


@functools.cache
def planned() -> dict[str, list[PlannedRun]]:
    """The runs by their names; without data, CIFAR-10's numbers are assumed."""
    argv = ["--sweep-file", str(ROOT / "configs/sweeps/house94.yaml"), "--dry-run"]
    argv += ["--data.train", "nowhere/train.beton", "--data.test", "nowhere/test.beton"]
    runs: dict[str, list[PlannedRun]] = {}
    for run in read(argv).plan.runs:
        runs.setdefault(run.name.split("/")[1], []).append(run)
    return runs


def sections(config: Config) -> dict[str, Any]:
    """What decides how a run learns, seeds aside."""
    content = as_dict(replace(config, train=replace(config.train, seed=0)))
    return {name: content[name] for name in LEARNING}


def test_the_whole_recipe_is_that_of_its_configuration() -> None:
    argv = ["--config-file", str(ROOT / "configs" / "house94.yaml")]
    house = options.read(Config, argv, program="", summary="").config
    for run in planned()["whole"]:
        assert sections(run.config) == sections(house)


def test_each_other_run_takes_one_ingredient_away() -> None:
    runs = planned()
    assert set(runs) == {"whole", *CHANGED}
    whole = sections(runs["whole"][0].config)
    for name, changed in CHANGED.items():
        other = sections(runs[name][0].config)
        assert {each for each in LEARNING if other[each] != whole[each]} == changed, name
    assert resolve(runs["without_whitening"][0].config.model).stem == "conv"


def test_settings_are_chosen_on_validation_images_with_three_seeds_each() -> None:
    for name, runs in planned().items():
        assert [run.config.train.seed for run in runs] == [0, 1, 2], name
        assert {run.config.data.validation for run in runs} == {5000.0}, name
        assert all(run.params < 5_000_000 for run in runs)
