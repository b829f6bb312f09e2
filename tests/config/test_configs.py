"""The files under `configs/`: known settings, the right network, a correct header."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from engine.config import checks, options
from engine.config.schema import Config, Model
from engine.model import VARIANTS, problems, resolve
from engine.model.budget import parameters
from engine.model.variants import ROWS
from tests.support.paths import ROOT

FILES = sorted((ROOT / "configs").glob("*.yaml"))
QUICKSTART = "quickstart"


def read(path: Path) -> Config:
    argv = ["--config-file", str(path)]
    return options.read(Config, argv, program="test", summary="", checks=checks.TRAINING).config


def header_of(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines[: lines.index("model:")])


def test_every_variant_of_the_reports_has_a_config() -> None:
    reported = {name for name, row in ROWS.items() if row.source.startswith("report")}
    assert {path.stem for path in FILES} == {*reported, QUICKSTART}


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
    if path.stem != QUICKSTART:
        assert model.name == path.stem
    assert resolve(model) == VARIANTS[model.name]
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
    if path.stem != QUICKSTART:
        for number in re.findall(r"report[s]? (\d{3})", ROWS[path.stem].source):
            assert number in header


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_budget_is_lifted_only_where_it_must_be(path: Path) -> None:
    over = parameters(VARIANTS[read(path).model.name]).total > Model.budget
    assert read(path).model.budget == (0 if over else Model.budget)
