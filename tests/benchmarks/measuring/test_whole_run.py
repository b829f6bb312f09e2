"""A whole run of `engine.train`: its wall time, and what its record and log tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measuring import whole_run
from engine.errors import RunFailed
from tests.support.data import Files
from tests.support.processes import run_warm


@pytest.fixture
def _warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in a process that has its imports behind it."""

    def run_python(*words: str, cache: Path, seconds: float) -> object:
        assert words[:2] == ("-m", "engine.train")
        return run_warm("train", *words[2:], seconds=seconds)

    monkeypatch.setattr(whole_run, "run_python", run_python)


@pytest.mark.usefixtures("_warm")
def test_a_whole_run_is_one_of_the_engine_with_the_settings_of_its_network(files: Files) -> None:
    flags = "--train.epochs 2 --train.batch_size 32 --train.seed 7 --runtime.precision fp32".split()
    figures = whole_run.run(
        "resnet111_w16", files.train, "cpu", *flags, "--runtime.threads", "1", seconds=50
    )
    assert figures["variant"] == "resnet111_w16"
    assert (figures["epochs"], figures["seed"], figures["batch_size"]) == (2, 7, 32)
    assert figures["wall_seconds"] > figures["seconds"][-1] > figures["seconds"][0] > 0
    assert 0 <= figures["test_accuracy"] <= 1 and len(figures["accuracies"]) == 2


@pytest.mark.usefixtures("_warm")
def test_a_whole_run_that_fails_says_why(files: Files) -> None:
    with pytest.raises(RunFailed, match=r"engine\.train ended with 2: .*train\.epohs"):
        whole_run.run("resnet111_w16", files.train, "cpu", "--train.epohs", "2", seconds=50)


def test_the_test_set_lies_beside_the_training_set(files: Files, tmp_path: Path) -> None:
    assert whole_run.test_set(files.train) == files.test
    assert whole_run.test_set(tmp_path / "alone.beton") == tmp_path / "alone.beton"


def test_compiling_is_what_the_first_epoch_takes_beyond_the_others() -> None:
    record = {
        "variant": "x", "epochs": 4, "precision": "bf16", "test_accuracy": 0.5,
        "images_per_second": 1.0, "config": {"train": {"seed": 3, "batch_size": 128}},
    }  # fmt: skip
    log = [{"seconds": end, "test_accuracy": 0.1} for end in (40.0, 41.0, 42.0, 44.0)]
    figures = whole_run.summary(record, log, wall=50.0)
    assert figures["usual_epoch_seconds"] == 1.0
    assert figures["compiling_seconds"] == 39.0
    assert figures["without_compiling_seconds"] == 11.0
    assert (figures["seed"], figures["test_accuracy"]) == (3, 0.5)
