"""The files under `configs/`: known settings, the right network, a correct header."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from engine.config import checks, options
from engine.config.schema import Config, Model
from engine.model import VARIANTS, problems, resolve
from engine.model.budget import parameters
from engine.model.variants import ROWS
from engine.runs.work import work_of
from tests.support.paths import ROOT

FILES = sorted((ROOT / "configs").glob("*.yaml"))
QUICKSTART = "quickstart"
HOUSE = ("house94", "house95", "house96")  # to an accuracy in little time


def read(path: Path) -> Config:
    argv = ["--config-file", str(path)]
    return options.read(Config, argv, program="test", summary="", checks=checks.TRAINING).config


def header_of(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines[: lines.index("model:")])


def test_every_variant_of_the_reports_has_a_config() -> None:
    reported = {name for name, row in ROWS.items() if row.source.startswith("report")}
    assert {path.stem for path in FILES} == {*reported, QUICKSTART, *HOUSE}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_is_known_and_accepted(path: Path) -> None:
    config = read(path)
    for section, settings in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        for name, value in settings.items():
            expected = tuple(value) if isinstance(value, list) else value
            assert getattr(getattr(config, section), name) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_network_is_the_files_name_and_has_the_headers_parameters(path: Path) -> None:
    model = read(path).model
    changed = {"norm_momentum": 0.1} if path.stem == "house96" else {}
    if path.stem != QUICKSTART:
        assert model.name == ("house95" if path.stem == "house96" else path.stem)
    assert resolve(model) == replace(VARIANTS[model.name], **changed)
    assert problems(model) == []
    [count] = re.findall(r"^# parameters: ([\d,]+)$", header_of(path), re.MULTILINE)
    assert int(count.replace(",", "")) == parameters(VARIANTS[model.name]).total


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_says_what_it_is_how_to_train_it_and_what_the_report_says(path: Path) -> None:
    header = header_of(path)
    assert all(line.startswith("#") for line in header.splitlines())
    command = f"python -m engine.train --config-file configs/{path.name}"
    assert re.search(rf"^# train: +{re.escape(command)}$", header, re.MULTILINE)
    for key in ("report", "recipe"):
        assert re.search(rf"^# {key}: +\S", header, re.MULTILINE)
    if path.stem not in (QUICKSTART, *HOUSE):
        for number in re.findall(r"report[s]? (\d{3})", ROWS[path.stem].source):
            assert number in header


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_budget_is_lifted_only_where_it_must_be(path: Path) -> None:
    over = parameters(VARIANTS[read(path).model.name]).total > Model.budget
    assert read(path).model.budget == (0 if over else Model.budget)


@pytest.mark.parametrize("name", HOUSE)
def test_the_headers_work_is_that_of_the_run(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    [written] = re.findall(r"^# work: +([\d.]+) PFLOPs", header_of(path), re.MULTILINE)
    work = work_of(read(path), 50_000, classes=10, side=32)
    assert written == f"{work.total / 1e15:.3g}"


@pytest.mark.parametrize("name", HOUSE)
def test_the_rates_are_those_of_a_summed_loss_over_the_batch(name: str) -> None:
    config = read(ROOT / "configs" / f"{name}.yaml")
    optim, batch = config.optim, config.train.batch_size
    biases = 0.053 / 4 if name == "house94" else 0.053
    for lr, decay, of_sum in (
        (optim.norm_lr, optim.norm_weight_decay, biases),
        (optim.rest_lr, optim.rest_weight_decay, biases),
        (optim.head_lr, optim.head_weight_decay, 0.67),
    ):
        assert lr == pytest.approx(of_sum * batch)
        assert decay == pytest.approx(2e-6 * batch / of_sum / batch, rel=1e-4)
    assert 1 - optim.lookahead_alpha == pytest.approx(0.95**5, abs=1e-4)
