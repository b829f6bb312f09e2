"""`python writers/cifar.py` on the synthetic set, mostly called as a function."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from engine import atomic
from engine.data import ffcv_files, sidecar
from engine.errors import run_command
from tests.support.paths import ROOT
from tests.support.processes import python, run
from tests.support.written import contents, images_and_labels, times, write_synthetic
from writers import cifar, inputs, outputs, synthetic
from writers.console import Console
from writers.settings import Data


def test_the_synthetic_set_is_written_with_true_sidecars_and_its_paths_printed(tmp_path, capsys):
    assert write_synthetic(tmp_path) == 0
    out, err = capsys.readouterr()
    paths = [tmp_path / f"synthetic_{split}.beton" for split in ("train", "test")]
    assert out.splitlines() == [str(path) for path in paths]
    assert "\r" not in err and "\x1b" not in err + out, "a bar or colour without a terminal"
    for path, split, count in zip(paths, ("train", "test"), (300, 60), strict=True):
        images, labels = images_and_labels(path)
        expected, expected_labels = synthetic.generate(split, count)
        assert np.array_equal(images, expected) and np.array_equal(labels, expected_labels)
        known = sidecar.read(path)
        assert known is not None
        assert (known.dataset, known.split, known.samples) == ("synthetic", split, count)
        assert known.classes == synthetic.CLASSES
        assert known.class_counts == tuple(np.bincount(labels, minlength=10))
        assert known.image_shape == (32, 32, 3)
        assert known.bytes == path.stat().st_size
        assert known.sha256 == sidecar.digest_of(path)
        assert np.allclose(known.mean, images.reshape(-1, 3).mean(0) / 255)
        assert np.allclose(known.std, images.reshape(-1, 3).std(0) / 255)
        assert set(known.versions) == {"ffcv", "numpy", "python"}
        assert known.sources


def test_two_runs_give_identical_files_and_sidecars(tmp_path):
    assert write_synthetic(tmp_path / "a") == write_synthetic(tmp_path / "b") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_correct_files_are_left_alone_and_quiet_prints_only_their_paths(tmp_path, capsys):
    assert write_synthetic(tmp_path, "--quiet") == 0
    before = times(tmp_path)
    out, err = capsys.readouterr()
    assert err == "" and len(out.splitlines()) == 2
    assert write_synthetic(tmp_path) == 0
    out, err = capsys.readouterr()
    assert times(tmp_path) == before
    assert err.count("already there and right") == 2 and len(out.splitlines()) == 2


def test_a_file_with_other_content_is_replaced_only_with_force(tmp_path, capsys):
    write_synthetic(tmp_path)
    before = contents(tmp_path)
    assert write_synthetic(tmp_path, limit=310) == 2
    assert contents(tmp_path) == before
    assert capsys.readouterr().err.count("--force") == 2
    assert write_synthetic(tmp_path, "--force", limit=310) == 0
    assert json.loads((tmp_path / "synthetic_train.beton.json").read_text())["samples"] == 310


@pytest.mark.parametrize("with_sidecar", [True, False])
def test_a_foreign_or_damaged_file_is_replaced_only_with_force(tmp_path, with_sidecar):
    write_synthetic(tmp_path)
    path = tmp_path / "synthetic_test.beton"
    path.write_bytes(b"somebody's work")
    if not with_sidecar:
        sidecar.path_of(path).unlink()
    before = contents(tmp_path)
    assert write_synthetic(tmp_path) == 2
    assert contents(tmp_path) == before
    assert write_synthetic(tmp_path, "--force") == 0
    assert write_synthetic(tmp_path) == 0


@pytest.mark.parametrize("old", [None, b"not json", b"of other content"])
def test_a_crash_between_file_and_sidecar_heals_without_force(tmp_path, old):
    write_synthetic(tmp_path)
    good = contents(tmp_path)
    path = tmp_path / "synthetic_train.beton.json"
    if old is None:
        path.unlink()
    elif old == b"of other content":
        path.write_bytes(good[path.name].replace(b'"samples": 300', b'"samples": 200'))
    else:
        path.write_bytes(old)
    assert write_synthetic(tmp_path) == 0
    assert contents(tmp_path) == good


def test_only_the_missing_split_is_written_also_over_the_rest_of_a_killed_run(tmp_path):
    write_synthetic(tmp_path)
    good, before = contents(tmp_path), times(tmp_path)
    (tmp_path / "synthetic_test.beton").unlink()
    (tmp_path / "synthetic_test.beton.partial").write_bytes(b"x" * 100)
    assert write_synthetic(tmp_path) == 0
    assert contents(tmp_path) == good
    assert times(tmp_path)["synthetic_train.beton"] == before["synthetic_train.beton"]


def test_a_second_writer_of_the_same_file_is_refused(tmp_path, capsys):
    with atomic.replacing(tmp_path / "synthetic_train.beton"):
        assert write_synthetic(tmp_path) == 2
    assert "another process" in capsys.readouterr().err


def test_if_the_second_split_fails_the_first_stays_as_it_was(tmp_path, monkeypatch):
    write_synthetic(tmp_path)
    before = contents(tmp_path)
    real = ffcv_files.write

    def failing(path: Path, *rest: object) -> None:
        if "test" in path.name:
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(ffcv_files, "write", failing)
    assert write_synthetic(tmp_path, "--force", limit=310) == 2
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["a file", "a folder in place of a .beton file"])
def test_an_impossible_output_path_is_a_user_error(tmp_path, capsys, place):
    folder = tmp_path / "out"
    if place == "a file":
        folder.write_text("")
    else:
        (folder / "synthetic_train.beton").mkdir(parents=True)
    assert write_synthetic(folder) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ("--data.images", "x.npy"),
        ("--data.images", "x.npy", "--data.split", "../x"),
        ("--data.images", "x.npy", "--data.split", ".."),
        ("--data.images", "x.npy", "--data.split", "a/b"),
        ("--data.images", "x.npy", "--data.split", "test"),
        ("--data.images", "x.npy", "--data.split", "e", "--data.source", "y"),
        ("--data.images", "x.npy", "--data.split", "e", "--data.name", "/tmp/x"),
        ("--data.labels", "y.npy"),
        ("--data.split", "extra"),
        ("--data.name", "cifar11"),
        ("--data.source", "synthetic", "--data.name", "cifar100"),
        ("--data.limit", "-1"),
        ("--data.folder", ""),
        ("--data.sorce", "x"),
        ("stray",),
    ],
)
def test_contradicting_settings_are_refused_before_anything_is_read(tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    assert run_command(cifar.main, flags) == 2
    assert not list(tmp_path.iterdir())


def test_every_input_knows_its_counts_before_anything_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 32, 32, 3), np.uint8))
    console = Console(quiet=True)
    drawn = inputs.choose(Data(source="synthetic"), console)
    assert drawn.samples == {"train": 50_000, "test": 10_000}
    images = str(tmp_path / "x.npy")
    extra = inputs.choose(Data(images=images, split="extra", limit=5), console)
    assert extra.samples == {"extra": 5}
    target = outputs.Target(tmp_path / "no.beton", "mine", "extra", 5, extra.sources)
    assert not outputs.is_right(target)


@pytest.mark.parametrize("form", ["file", "module"])
def test_it_runs_as_a_file_from_anywhere_and_as_a_module_without_importing_torch_in_vain(
    tmp_path, form
):
    assert write_synthetic(tmp_path / "data") == 0
    script = [ROOT / "writers" / "cifar.py"] if form == "file" else ["-m", "writers.cifar"]
    flags = ["--data.source", "synthetic", "--data.limit", "300"]
    result = run(
        *python("-X", "importtime", *script, *flags, "--data.folder", tmp_path / "data"),
        cwd=tmp_path if form == "file" else ROOT,
    )
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 2
    assert not re.search(r"\| +(torch|ffcv)\n", result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
