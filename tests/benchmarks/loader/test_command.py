"""The command of the loader's benchmark: its flags, its page and its JSON."""

import json
import math

import pytest
import torch

from benchmarks.loader import __main__ as loader
from benchmarks.loader import page
from benchmarks.loader.files import prepared
from benchmarks.loader.goals import GOALS, GPU_GOALS, KEYS, SECTIONS
from benchmarks.measuring.results import Results
from engine.errors import UserError, run_command
from tests.support.processes import python, succeed


def test_a_single_image_is_refused(numbered):
    with pytest.raises(UserError, match="at least two"), prepared(str(numbered.source), 1):
        pass


def test_without_data_the_synthetic_images_are_written_and_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with prepared(None, 40) as files:
        assert files.samples == 40 and files.described.startswith("the built-in synthetic set")
        assert files.source.exists() and files.numbered.exists()
        folders = files.source.parent, files.numbered.parent
    assert not any(folder.exists() for folder in folders) and not list(tmp_path.iterdir())


def test_every_section_is_measured_and_every_key_and_goal_belongs_to_one():
    assert loader.MEASURED_BY.keys() == SECTIONS.keys()
    figures = {key for keys in SECTIONS.values() for key in keys}
    assert figures == {*KEYS, *(goal.key for goal in GOALS + GPU_GOALS)}


def test_the_table_shows_what_the_gpu_took():
    results = Results()
    spread = {"median": 0.0002, "min": 0.0001, "max": 0.0003}
    results.details["gpu_seconds_per_50000"] = {"uint8": {"128": spread}}
    results.details["gpu_step_seconds"] = {"128": spread}
    lines = page.gpu(results).splitlines()
    assert lines[1].split() == ["uint8", "128", "0.2000", "0.1000", "0.3000"]
    assert lines[2].split() == ["a", "training", "step", "128", "0.2000", "0.1000", "0.3000"]


def test_a_small_run_gives_every_figure_it_measured_and_a_reason_for_every_other(
    numbered, tmp_path, capsys
):
    target = tmp_path / "results.json"
    code = run_command(
        loader.main,
        ["--data", str(numbered.source), "--pairs", "1", "--json", str(target),
         "--without", "uint8,float,torchvision,plain,starts,exits", "--samples", "600"],
    )  # fmt: skip
    printed, content = capsys.readouterr().out, json.loads(target.read_text())
    assert code == 0
    for key in KEYS:
        if content[key] is None:
            assert content["missing"][key].startswith("left out by --without"), key
        else:
            assert math.isfinite(content[key]), key
    assert content["gather_fraction_of_ceiling"] > 0
    assert content["figures"]["different_digests"] == 0
    assert len(content["details"]["pairs"]["gather / ceiling"]["first"]) == 1
    assert content["details"]["images_per_second"]["ours, raw gather"]["median"] > 0
    assert content["conditions"]["images"] == 600 and not content["conditions"]["drop_last"]
    for condition in ("600 images of 3,072 bytes", "batch 512", "1 pairs", "threads on", "load",
                      f"torch {torch.__version__.partition('+')[0]}", "ffcv", "numba"):  # fmt: skip
        assert condition in printed
    assert "left out by --without uint8" in printed
    verdicts = {each["key"]: each["verdict"] for each in content["goals"]}
    assert verdicts["ratio_uint8_vs_ffcv"] == "not measured"
    assert verdicts["different_digests"] == "met"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_whole_small_run_has_all_keys_that_stay(tmp_path):
    target = tmp_path / "results.json"
    flags = ["--quick", "--samples", "600", "--pairs", "2", "--json", target]
    succeed(*python("-m", "benchmarks.loader", *flags), seconds=590)
    content = json.loads(target.read_text())
    for key in KEYS:
        assert isinstance(content[key], float) and math.isfinite(content[key]), key
