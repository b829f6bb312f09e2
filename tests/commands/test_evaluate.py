"""Evaluating a finished run on files of all kinds: accuracy, predictions, or a named error."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from engine import evaluate, train
from engine.errors import run_command
from engine.runs.directory import RunFolder
from tests.support.data import CLASSES, TEST_IMAGES, Files, coloured, rewrite_sidecar, write_beton
from tests.support.runs import SHORT, Command, record_of, run_of


@pytest.fixture(scope="module")
def finished(files: Files, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, which the tests only read."""
    root = tmp_path_factory.mktemp("finished")
    flags = [*SHORT, *files.flags(), "--run.root", str(root / "runs")]
    assert run_command(train.main, flags) == 0
    return run_of(root)


def test_predictions_of_a_hidden_set_are_written_as_id_and_label(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(finished.path)
    hidden, out = tmp_path / "hidden.beton", tmp_path / "out.csv"
    images, labels = coloured(9, 0)
    write_beton(hidden, images, labels * 0 - 1, split="hidden")
    capsys.readouterr()
    flags = [run, "--data", str(hidden), "--device", "cpu"]
    assert run_command(evaluate.main, flags) == 2
    assert "--predictions" in capsys.readouterr().err
    assert run_command(evaluate.main, [*flags, "--predictions", str(out)]) == 0
    assert capsys.readouterr().out == ""
    header, *rows = out.read_text().splitlines()
    assert header == "id,label"
    assert [int(row.split(",")[0]) for row in rows] == list(range(9))
    assert all(0 <= int(row.split(",")[1]) < len(CLASSES) for row in rows)


def test_a_model_is_refused_on_a_set_of_other_classes(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished
    images, labels = coloured(8, 0)
    other = tmp_path / "other.beton"
    write_beton(other, images, labels, split="test")
    counts = {"classes": ["a", "b", "c", "d", "e"], "class_counts": [2, 2, 2, 2, 0]}
    write_beton(named := tmp_path / "named.beton", images, labels, split="test")
    rewrite_sidecar(named, other, **counts)
    assert run_command(evaluate.main, [str(run.path), "--data", str(other)]) == 2
    assert "5 classes" in capsys.readouterr().err
    rewrite_sidecar(named, other, classes=["a", "b", "c", "d"])
    assert run_command(evaluate.main, [str(run.path), "--data", str(other)]) == 2
    assert "its classes are a, b, c" in capsys.readouterr().err


def test_numbers_stand_for_missing_class_names(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(finished.path)
    images, labels = coloured(8, 0)
    few, many = tmp_path / "few.beton", tmp_path / "many.beton"
    write_beton(few, images, labels % 3, split="mine")
    rewrite_sidecar(few, few, classes=["0", "1", "2"], class_counts=[4, 2, 2])
    assert run_command(evaluate.main, [run, "--data", str(few)]) == 0
    write_beton(many, images, labels * 0 - 1, split="hidden")
    rewrite_sidecar(many, many, classes=list("abcde"), class_counts=[0] * 5)
    flags = [run, "--data", str(many), "--predictions", str(tmp_path / "out.csv")]
    assert run_command(evaluate.main, flags) == 2
    assert "holds 5 classes" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("where", ["absent/out.csv", "file/out.csv", "folder", "fifo"])
def test_an_impossible_path_for_predictions_is_one_line(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    capsys.readouterr()
    flags = [str(finished.path), "--predictions", str(tmp_path / where)]
    assert run_command(evaluate.main, flags) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and err[0].startswith(f"error: {tmp_path}")
    assert (tmp_path / "fifo").is_fifo()


def test_damaged_weights_are_not_evaluated(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    run.weights.write_bytes(run.weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert run_command(evaluate.main, [str(run.path)]) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{tmp}/absent"], "no such run"),
        (["{tmp}"], "expected the folder of a run"),
        ([], "the following arguments are required: run"),
        (["{tmp}", "--dat", "x"], "unrecognized arguments"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    argv = [word.format(tmp=tmp_path) for word in argv]
    assert run_command(evaluate.main, argv) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_limited_run_is_evaluated_on_its_own_test_images(
    command: Command, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--data.limit", "20", "--data.validation", "4") == 0
    record = record_of(tmp_path)
    counts = [record[f"{part}_images"] for part in ("train", "validation", "test")]
    assert counts == [16, 4, 20]
    run, out = str(run_of(tmp_path).path), tmp_path / "out.csv"
    capsys.readouterr()
    flags = [run, "--device", "cpu", "--json", "--predictions", str(out)]
    assert run_command(evaluate.main, flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 20
    assert result["accuracy"] == record["test_accuracy"]
    ids = [int(row.split(",")[0]) for row in out.read_text().splitlines()[1:]]
    assert len(set(ids)) == 20
    assert max(ids) > 20  # ids of the file, not of the selection
    assert run_command(evaluate.main, [run, "--data", str(files.test), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == TEST_IMAGES
