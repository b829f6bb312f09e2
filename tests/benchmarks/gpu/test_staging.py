"""What the parts run on: CIFAR-10 in pieces, the built-in set, and packages from wheels."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import pieces, staging, wheels
from engine.errors import UserError
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.processes import python, run
from writers import inputs

RECORDS = 200
FILES = [*pieces.LAYOUT.train, *pieces.LAYOUT.test]


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small batches in the published form, and their digests in place of the published ones."""
    folder = tmp_path / "published"
    folder.mkdir()
    random, digests = np.random.default_rng(0), {}
    for name in [*FILES, *pieces.LAYOUT.meta]:
        pixels = random.integers(0, 256, RECORDS * 3072, np.uint8).tobytes()
        header = b"T" + len(pixels).to_bytes(4, "little")
        content = b"before" + header + pixels + pickle.dumps(name, 2)
        (folder / name).write_bytes(content if name in FILES else b"names of classes")
        digests[name] = "md5:" + md5((folder / name).read_bytes()).hexdigest()
    layout = replace(
        pieces.LAYOUT,
        records=RECORDS,
        train={name: digests[name] for name in pieces.LAYOUT.train},
        test={name: digests[name] for name in pieces.LAYOUT.test},
        meta={name: digests[name] for name in pieces.LAYOUT.meta},
    )
    monkeypatch.setattr(pieces, "LAYOUT", layout)
    monkeypatch.setattr(pieces, "EFFORT", {"quality": 0, "method": 0})
    return folder


def test_the_pieces_become_the_published_files_again(batches: Path, tmp_path: Path) -> None:
    sent, made = tmp_path / "sent", tmp_path / "made"
    assert pieces.main([str(batches), str(sent)]) == 0
    assert len(list(sent.glob("*.webp"))) == 6
    pieces.unpack(sent, made)
    for name in pieces.LAYOUT.files:
        assert (made / name).read_bytes() == (batches / name).read_bytes()


def test_a_damaged_piece_is_not_taken_for_the_published_file(batches: Path, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    pieces.main([str(batches), str(sent)])
    (sent / "data_batch_2.webp").write_bytes((sent / "data_batch_1.webp").read_bytes())
    with pytest.raises(UserError, match="data_batch_2: not the published file"):
        pieces.unpack(sent, tmp_path / "made")


def test_pieces_that_are_missing_are_named_and_all_of_them_are_written(
    batches: Path, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, said = tmp_path / "sent", list[str]()
    pieces.main([str(batches), str(sent)])
    last = (sent / "test_batch.webp").rename(tmp_path / "later.webp")
    with pytest.raises(UserError, match=r"not there yet: test_batch\.webp$"):
        staging.training_set(str(sent), tmp_path, said.append, rehearsal=False)
    last.rename(sent / "test_batch.webp")

    def write(folder: Path, source: Path) -> dict[str, Path]:
        assert sorted(each.name for each in source.iterdir()) == sorted(pieces.LAYOUT.files)
        return {"train": files.train}

    monkeypatch.setattr(inputs, "write_cifar10", write)
    source = staging.training_set(str(sent), tmp_path, said.append, rehearsal=False)
    assert (source.path, source.samples, source.drawn) == (files.train, TRAIN_IMAGES, False)
    assert said[-1] == "CIFAR-10: writing cifar10_train.beton"


def test_a_folder_without_any_of_it_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected cifar10_train\.beton"):
        staging.training_set(str(tmp_path), tmp_path, print, rehearsal=False)


def test_without_data_the_built_in_set_is_drawn_once_and_every_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(staging.synthetic, "TRAIN", 60)
    monkeypatch.setattr(staging.synthetic, "TEST", 20)
    first = staging.training_set(None, tmp_path / "work", print, rehearsal=False)
    assert (first.name, first.samples, first.has_cifar10) == ("synthetic", 60, False)
    assert "accuracies mean nothing" in first.as_json()["drawn"]
    at = first.path.stat().st_mtime_ns
    assert staging.training_set(None, tmp_path / "work", print, rehearsal=False) == first
    assert first.path.stat().st_mtime_ns == at
    assert not staging.training_set(None, tmp_path / "work", print, rehearsal=True).drawn


def _wheel(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_what_a_machine_lacks_is_installed_from_the_wheels_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, work, said = tmp_path / "wheelhouse", tmp_path / "work", list[str]()
    house.mkdir()
    _wheel(house, "bare_machine_lacks_this")
    _wheel(house, "numpy")  # is there: another version is not wanted
    (house / "fits_nothing-1.0-cp27-none-any.whl").write_bytes(b"")
    assert wheels.missing(house) == ["bare-machine-lacks-this", "fits-nothing"]
    assert wheels.lacks(("json", "bare_machine_lacks_this")) == ["bare_machine_lacks_this"]
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    wheels.provide(work, said.append, house)
    assert said == ["bare-machine-lacks-this: from wheelhouse", "fits-nothing: no wheel fits"]
    assert wheels.lacks(("bare_machine_lacks_this",)) == []
    done = run(*python("-c", "import bare_machine_lacks_this"))
    assert done.returncode == 0, done.stderr
    (house / "fits_nothing-1.0-cp27-none-any.whl").unlink()
    monkeypatch.setattr(subprocess, "run", None)  # the second time nothing is installed
    wheels.provide(work, said.append, house)


def test_without_a_wheelhouse_nothing_happens(tmp_path: Path) -> None:
    wheels.provide(tmp_path / "work", print, tmp_path / "none")
    assert not (tmp_path / "work").exists()
