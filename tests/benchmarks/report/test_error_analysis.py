"""What a network gets wrong: computed from its weights, kept, or missing with a reason."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.records import runs
from benchmarks.report import error_analysis
from benchmarks.report.error_analysis import Allowance, ErrorAnalysis, analyse
from engine import seal, train
from engine.errors import run_command
from engine.runs.directory import OWN_DIGEST
from tests.support.pages import check_page


@pytest.fixture
def folder(tmp_path: Path, trained: Path) -> Path:
    """A copy of a trained run."""
    return Path(shutil.copytree(trained / "real", tmp_path / "runs" / "real"))


def analysis_of(folder: Path, seconds: float | None = None) -> ErrorAnalysis | str:
    cache = folder.parent.parent / "predictions"
    return error_analysis.analyse(runs.read_run(folder), cache, Allowance(seconds))


def test_a_trained_run_shows_its_errors_and_the_command_that_repeats_it(
    trained: Path, report_of: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = report_of("--predictions", "all", runs=trained)
    check_page(text)
    for words in (
        "Accuracy per class", "Confusion matrix", "The 25 worst of 41 test images", "green"
    ):  # fmt: skip
        assert words in text
    assert text.count('role="img" aria-label="Test image') == 25
    assert text.count("data:image/png;base64,") == 25
    command = re.search(r"<pre[^>]*><code>(.*?)</code>", text)
    assert command is not None
    assert run_command(train.main, command[1].split()[3:]) == 0
    assert "this run is already finished" in capsys.readouterr().err
    assert "left out by --predictions none" not in report_of("--predictions", "none", runs=trained)


def test_a_result_is_kept_and_a_damaged_copy_is_computed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = analysis_of(folder)
    assert isinstance(first, ErrorAnalysis)
    assert first.images == 41
    (kept,) = (folder.parent.parent / "predictions").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(error_analysis, "_computed", lambda run: pytest.fail("computed again"))
        assert analysis_of(folder, seconds=0.0) == first
    kept.write_text(kept.read_text()[:-99])
    assert analysis_of(folder) == first


def test_missing_weights_or_data_are_the_reason_given(folder: Path) -> None:
    path = folder / "record.json"
    content = json.loads(path.read_text())
    del content[OWN_DIGEST]
    path.write_text(json.dumps(content | {"data_digests": {"train": "0", "test": "0"}}))
    assert "another file than the test set of" in str(analysis_of(folder))
    content["config"]["data"]["test"] = "gone.beton"
    path.write_text(json.dumps(content))
    assert analysis_of(folder) == "the test set gone.beton is not there"
    (folder / "weights.safetensors").unlink()
    assert analysis_of(folder) == "the run's weights.safetensors is not there"


def test_damaged_weights_cost_only_the_analysis(
    folder: Path, report_of: Callable[..., str]
) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    text = report_of()
    check_page(text)
    assert "the worst test images are missing: " in text


def test_no_analysis_begins_once_the_time_is_spent(folder: Path) -> None:
    assert analysis_of(folder, seconds=0.0) == "left out by --predictions none"
    run, cache = runs.read_run(folder), folder.parent.parent / "predictions"
    spent = Allowance(8.0, spent=8.0)
    assert "the 8 s for predictions were spent on other runs" in str(analyse(run, cache, spent))


def test_an_analysis_that_would_take_too_long_does_not_begin(folder: Path) -> None:
    run, cache = runs.read_run(folder), folder.parent.parent / "predictions"
    flops = run.record["flops"]["forward"] * run["test_images"]
    slow = Allowance(8.0, rate=flops / 60)
    assert "about 60 s here, and at most 8 s are spent" in str(analyse(run, cache, slow))
    half = Allowance(8.0, spent=4.0, rate=flops / 6)
    assert "about 6 s, and 4 s were left after other runs" in str(analyse(run, cache, half))
    assert isinstance(analyse(run, cache, Allowance(8.0)), ErrorAnalysis)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("test_accuracy", "record.json says 99.99 %"),
        ("train_loss", "train_loss is 0.9999 in record"),
    ],
)
def test_a_result_that_the_weights_do_not_reach_is_none(
    folder: Path, report_of: Callable[..., str], tmp_path: Path, key: str, reason: str
) -> None:
    """Whoever edits the record can edit its digest as well, but not the weights."""
    path = folder / "record.json"
    content = json.loads(path.read_text()) | {key: 0.9999}
    path.write_text(json.dumps(seal.sealed(content, OWN_DIGEST)))
    text = report_of("--predictions", "all")
    check_page(text)
    assert reason in text
    with open(tmp_path / "report" / "runs.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "broken" and reason in row["problem"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confusion", [[1, 2], [3, 4]]),
        ("confusion", [[1]] * 4),
        ("confusion", [[-1] * 4] * 4),
        ("confusion", [[1e308] * 4] * 4),
        ("confusion", 3),
        ("classes", ["a"] * 5),
        ("classes", None),
        ("mistakes", [[1, "a", "b", 1e308, ""]]),
        ("mistakes", [["x", "a", "b", 0.5, ""]]),
        ("mistakes", [[1, "a", "b", 0.5, "<script>"]]),
        ("mistakes", [[]]),
    ],
)
def test_a_kept_result_of_another_shape_is_computed_again(
    tmp_path: Path, key: str, value: object
) -> None:
    png = "aGFsbG8="
    content = {
        "format": 1,
        "classes": ["a\x1b[2J", "b", "c", "d"],
        "confusion": [[1, 0, 0, 0]] * 4,
        "mistakes": [[3, "a", "b", 0.5, png]],
    }
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(content))
    kept = error_analysis._read(path)
    assert kept is not None and kept.classes[0] == "a\ufffd[2J" and kept.images == 4
    path.write_text(json.dumps(content | {key: value}))
    assert error_analysis._read(path) is None
    path.unlink()
    os.mkfifo(path)
    assert error_analysis._read(path) is None
