"""The real CIFAR-10, where it is at hand."""

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.data import sidecar
from engine.errors import UserError
from tests.support.paths import ROOT
from tests.support.processes import python, succeed
from tests.support.written import contents, images_and_labels, times, write
from writers import cifar_files, cifar_layouts, download
from writers.cifar_layouts import LAYOUTS
from writers.outputs import LabelledImages

PYTHON_FORM, BINARY_FORM = LAYOUTS[:2]


@pytest.fixture(scope="module")
def loaded(cifar10: Path) -> dict[str, LabelledImages]:
    return cifar_files.locate(cifar10.parent, "cifar10").load()


@pytest.fixture
def folder(cifar10: Path, tmp_path: Path) -> Path:
    """A data folder in which CIFAR-10 lies."""
    (tmp_path / "cifar-10-batches-py").symlink_to(cifar10)
    return tmp_path


def test_it_reads_as_the_plain_pickle_does(cifar10, loaded):
    assert loaded["train"].classes == cifar_layouts.CIFAR10_CLASSES
    plain = pickle.loads((cifar10 / "data_batch_3").read_bytes(), encoding="bytes")
    images, labels = loaded["train"].images, loaded["train"].labels
    planes = images[20_000:30_000].transpose(0, 3, 1, 2).reshape(-1, 3072)
    assert np.array_equal(planes, plain[b"data"])
    assert labels[20_000:30_000].tolist() == plain[b"labels"]
    assert np.bincount(labels).tolist() == [5000] * 10


def test_its_binary_version_has_the_digests_that_are_built_in(loaded):
    for split, files in (("train", BINARY_FORM.train), ("test", BINARY_FORM.test)):
        images, labels = loaded[split].images, loaded[split].labels
        planes = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
        records = np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1)
        for batch, digest in zip(np.split(records, len(files)), files.values(), strict=True):
            assert digest == f"sha256:{hashlib.sha256(batch.tobytes()).hexdigest()}"


def test_it_is_found_and_what_was_written_stays_right_without_it(
    folder, loaded, monkeypatch, capsys
):
    def no_network(*args):
        raise UserError("no network")

    monkeypatch.setattr(download, "fetch", no_network)
    assert write(folder, "--data.limit", "100") == 0
    known = sidecar.read(folder / "cifar10_train.beton")
    assert known is not None and known.sources == dict(PYTHON_FORM.files)
    images, labels = images_and_labels(folder / "cifar10_train.beton")
    assert np.array_equal(images, loaded["train"].images[:100])
    assert np.array_equal(labels, loaded["train"].labels[:100])

    (folder / "cifar-10-batches-py").unlink()
    before = times(folder)
    assert write(folder, "--data.limit", "100") == 0
    assert "already there and right" in capsys.readouterr().err
    assert times(folder) == before
    assert write(folder, "--data.limit", "99") == 2  # other images would have to be downloaded
    file = folder / "cifar10_test.beton"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert write(folder, "--data.limit", "100") == 2


def test_a_damaged_source_is_refused_and_the_old_files_stay(cifar10, tmp_path, capsys):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for path in cifar10.iterdir():
        (source / path.name).symlink_to(path)
    damaged = source / "data_batch_5"
    damaged.unlink()
    shutil.copy(cifar10 / "data_batch_5", damaged)
    with open(damaged, "r+b") as batch:
        batch.seek(12_345_678)
        byte = batch.read(1)
        batch.seek(-1, 1)
        batch.write(bytes([byte[0] ^ 4]))
    (out / "cifar10_train.beton").write_bytes(b"an older file")
    assert write(out, "--data.source", source, "--force") == 2
    assert "data_batch_5" in capsys.readouterr().err
    assert contents(out) == {"cifar10_train.beton": b"an older file"}


@pytest.mark.slow
def test_all_of_it_is_written_in_less_than_1_gb(folder):
    # A process starts with the peak of the one that started it, so a small one must: not pytest.
    measure = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "_, status, used = os.wait4(process.pid, 0)\n"
        "print(os.waitstatus_to_exitcode(status), used.ru_maxrss)"
    )
    command = python(ROOT / "writers" / "cifar.py", "--data.folder", folder)
    code, kilobytes = map(int, succeed(*python("-c", measure), *command).split())
    assert code == 0
    assert kilobytes * 1024 < 1e9
    known = sidecar.read(folder / "cifar10_train.beton")
    assert known is not None and known.samples == 50_000
    assert known.class_counts == (5000,) * 10
    assert [round(value, 4) for value in known.mean] == [0.4914, 0.4822, 0.4465]
    assert [round(value, 4) for value in known.std] == [0.247, 0.2435, 0.2616]
    assert known.sources["data_batch_1"] == "md5:c99cafc152244af753f735de768cd75f"
