"""Evaluating a finished run on files of all kinds: accuracy, predictions, or a named error."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine import evaluate, train
from engine.data import sidecar
from engine.errors import run_command
from engine.runs.directory import RunFolder
from tests.support.data import (
    CLASSES,
    TEST_IMAGES,
    Files,
    coloured,
    rewrite_sidecar,
    stock_write,
    write_beton,
)
from tests.support.runs import SHORT, Call, Command, record_of, run_of


@pytest.fixture(scope="module")
def finished(files: Files, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, which the tests only read."""
    root = tmp_path_factory.mktemp("finished")
    flags = [*SHORT, *files.flags(), "--run.root", str(root / "runs")]
    assert run_command(train.main, flags) == 0
    return run_of(root)


def test_predictions_of_a_hidden_set_are_written_as_id_and_label(
    finished: RunFolder, tmp_path: Path, call: Call
) -> None:
    hidden, out = tmp_path / "hidden.beton", tmp_path / "out.csv"
    images, labels = coloured(9, 0)
    write_beton(hidden, images, labels * 0 - 1, split="hidden")
    flags = [finished.path, "--data", hidden, "--device", "cpu"]
    code, _, err = call(evaluate.main, *flags)
    assert code == 2
    assert "--predictions" in err
    assert call(evaluate.main, *flags, "--predictions", out)[:2] == (0, "")
    header, *rows = out.read_text().splitlines()
    assert header == "id,label"
    assert [int(row.split(",")[0]) for row in rows] == list(range(9))
    assert all(0 <= int(row.split(",")[1]) < len(CLASSES) for row in rows)


def test_another_file_in_the_place_of_the_test_set_is_never_taken_for_it(
    tmp_path: Path, call: Call
) -> None:
    own = Files(tmp_path / "few_train.beton", tmp_path / "few_test.beton")
    for path, split in ((own.train, "train"), (own.test, "test")):
        write_beton(path, *coloured(TEST_IMAGES, seed=1), split=split)
    root = tmp_path / "runs"
    assert run_command(train.main, [*SHORT, *own.flags(), "--run.root", str(root)]) == 0
    run = run_of(tmp_path).path
    assert call(evaluate.main, run)[0] == 0
    write_beton(own.test, *coloured(TEST_IMAGES, seed=3), split="test")
    code, _, err = call(evaluate.main, run)
    assert code == 2 and f"{own.test}: another file than the test set" in err
    assert call(evaluate.main, run, "--data", own.test)[0] == 0


def test_a_set_of_other_classes_is_refused(finished: RunFolder, tmp_path: Path, call: Call) -> None:
    other, named = tmp_path / "other.beton", tmp_path / "named.beton"
    for path in (other, named):
        write_beton(path, *coloured(8, 0), split="test")
    for changes, message in (
        ({"classes": list("abcde"), "class_counts": [2, 2, 2, 2, 0]}, "5 classes"),
        ({"classes": list("abcd")}, "its classes are a, b, c"),
    ):
        rewrite_sidecar(named, other, **changes)
        code, _, err = call(evaluate.main, finished.path, "--data", other)
        assert code == 2
        assert message in err


def test_numbers_stand_for_missing_names(finished: RunFolder, tmp_path: Path, call: Call) -> None:
    images, labels = coloured(8, 0)
    same, many, out = (tmp_path / name for name in ("same.beton", "many.beton", "out.csv"))
    write_beton(same, images, labels, split="mine")
    rewrite_sidecar(same, same, classes=list("0123"))
    assert call(evaluate.main, finished.path, "--data", same)[0] == 0
    write_beton(many, images, labels * 0 - 1, split="hidden")
    rewrite_sidecar(many, many, classes=list("abcde"), class_counts=[0] * 5)
    code, _, err = call(evaluate.main, finished.path, "--data", many, "--predictions", out)
    assert code == 2
    assert "holds 5 classes" in err
    assert not out.exists()


@pytest.mark.parametrize("where", ["absent/out.csv", "file/out.csv", "folder", "fifo"])
def test_an_impossible_path_for_predictions_is_one_line(
    finished: RunFolder, tmp_path: Path, call: Call, where: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    code, _, err = call(evaluate.main, finished.path, "--predictions", tmp_path / where)
    assert code == 2
    assert len(err.splitlines()) == 1 and err.startswith(f"error: {tmp_path}")
    assert (tmp_path / "fifo").is_fifo()


def test_damaged_weights_are_not_evaluated(finished: RunFolder, tmp_path: Path, call: Call) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    run.weights.write_bytes(run.weights.read_bytes()[:-4] + b"\0\0\0\1")
    code, _, err = call(evaluate.main, run.path)
    assert code == 2
    assert "damaged" in err


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
    tmp_path: Path, call: Call, argv: list[str], message: str
) -> None:
    code, _, err = call(evaluate.main, *(word.format(tmp=tmp_path) for word in argv))
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_limited_run_is_evaluated_on_its_own_test_images(
    command: Command, files: Files, tmp_path: Path, call: Call
) -> None:
    assert command("--data.limit", "20", "--data.validation", "4") == 0
    record = record_of(tmp_path)
    counts = [record[f"{part}_images"] for part in ("train", "validation", "test")]
    assert counts == [16, 4, 20]
    run, out = run_of(tmp_path).path, tmp_path / "out.csv"
    _, shown, _ = call(evaluate.main, run, "--device", "cpu", "--json", "--predictions", out)
    result = json.loads(shown)
    assert result["images"] == 20
    assert result["accuracy"] == record["test_accuracy"]
    assert result["loss"] == pytest.approx(record["test_loss"], rel=1e-5)
    ids = [int(row.split(",")[0]) for row in out.read_text().splitlines()[1:]]
    assert len(set(ids)) == 20
    assert max(ids) > 20  # ids of the file, not of the selection
    _, shown, _ = call(evaluate.main, run, "--data", files.test, "--json")
    assert json.loads(shown)["images"] == TEST_IMAGES


def test_views_are_averaged_where_it_is_asked_for(
    finished: RunFolder, tmp_path: Path, call: Call
) -> None:
    texts = {}
    for tta in ("none", "flip", "six"):
        out = tmp_path / f"{tta}.csv"
        flags = [finished.path, "--device", "cpu", "--tta", tta]
        code, printed, _ = call(evaluate.main, *flags, "--json", "--predictions", out)
        assert code == 0
        assert json.loads(printed)["tta"] == tta
        assert len(out.read_text().splitlines()) == TEST_IMAGES + 1
        texts[tta] = call(evaluate.main, *flags)[1]
    plain = call(evaluate.main, finished.path, "--device", "cpu")[1]
    assert texts["none"] == plain
    assert "mean of two views" in texts["flip"]
    assert "mean of six views" in texts["six"]
    assert call(evaluate.main, finished.path, "--tta", "ten")[0] == 2


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("with_sidecar", [True, False])
def test_another_number_of_classes_is_refused_also_where_numbers_name_them(
    finished: RunFolder, tmp_path: Path, call: Call, classes: int, with_sidecar: bool
) -> None:
    path = tmp_path / "other.beton"
    images, labels = coloured(10, 0)
    write_beton(path, images, labels, split="mine")
    names = [str(number) for number in range(classes)]
    labels = np.arange(10) % classes
    stock_write(path, images, labels, write_mode="raw")
    counts = {"class_counts": np.bincount(labels).tolist(), "sha256": sidecar.digest_of(path)}
    rewrite_sidecar(path, path, classes=names, **counts)
    if not with_sidecar:
        sidecar.path_of(path).unlink()
    code, _, err = call(evaluate.main, finished.path, "--data", path)
    assert code == 2
    assert f"holds {classes} classes, but {finished.path} was trained on 4" in err


def test_the_run_is_evaluated_from_any_folder_on_its_own_test_set(
    files: Files, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    (there / "data").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (files.train, files.test):
        for part in (path, sidecar.path_of(path)):
            shutil.copy(part, there / "data" / part.name)
    relative = Files(Path("data") / files.train.name, Path("data") / files.test.name)
    monkeypatch.chdir(there)
    assert call(train.main, *SHORT, *relative.flags(), "--run.root", "runs/a")[0] == 0
    (run,) = (there / "runs" / "a").glob("[!.]*")
    flags = ["--device", "cpu", "--json"]
    here = json.loads(call(evaluate.main, run, *flags)[1])
    monkeypatch.chdir(elsewhere)
    for path in (run, os.path.relpath(run)):
        result = json.loads(call(evaluate.main, path, *flags)[1])
        assert (result["accuracy"], result["images"]) == (here["accuracy"], TEST_IMAGES)
    (elsewhere / "data").mkdir()
    shutil.copy(files.train, elsewhere / relative.test)  # another file of the same name
    code, _, err = call(evaluate.main, run)
    assert code == 2 and f"{relative.test}: another file than the test set of {run}" in err
    (elsewhere / relative.test).unlink()
    (there / relative.test).unlink()
    code, _, err = call(evaluate.main, run)
    assert code == 2
    assert (
        err == f"error: {there / relative.test}: no such file, the test set of {run}; name "
        "one with: --data\n"
    )
