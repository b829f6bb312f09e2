"""Sets of one's own, from `.npy` files."""

import os
from pathlib import Path

import numpy as np
import pytest

from engine.data import sidecar
from tests.support.written import images_and_labels, write


@pytest.fixture
def arrays(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Twenty images and labels, which lie in x.npy and y.npy of `tmp_path`."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 32, 32, 3), np.uint8)
    labels = random.integers(-1, 10, 20)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", labels)
    return images, labels


def write_extra(folder: Path, *flags: str | Path, out: str = "out") -> int:
    return write(folder / out, "--data.images", folder / "x.npy", "--data.split", "extra", *flags)


def test_images_without_labels_are_written_as_unknown(tmp_path, arrays, capsys):
    assert write_extra(tmp_path) == 0
    path = tmp_path / "out" / "cifar10_extra.beton"
    assert capsys.readouterr().out == f"{path}\n"
    images, labels = images_and_labels(path)
    assert np.array_equal(images, arrays[0]) and (labels == -1).all()
    known = sidecar.read(path)
    assert known is not None and known.class_counts == (0,) * 10
    assert known.classes[0] == "airplane" and known.split == "extra"


def test_labels_are_kept_and_the_set_may_have_a_name_of_its_own(tmp_path, arrays):
    assert write_extra(tmp_path, "--data.labels", tmp_path / "y.npy", "--data.name", "mine") == 0
    path = tmp_path / "out" / "mine_extra.beton"
    labels = arrays[1]
    assert np.array_equal(images_and_labels(path)[1], labels)
    known = sidecar.read(path)
    assert known is not None and sum(known.class_counts) == (labels >= 0).sum()
    assert set(known.sources) == {"x.npy", "y.npy"}


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 3, 32, 32), np.uint8), None, "N H W 3"),
        (np.zeros((4, 32, 32, 3), np.float32), None, "float32"),
        (np.zeros((0, 32, 32, 3), np.uint8), None, "no images"),
        (np.array([{}, {}]), None, "not an array"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 10]), "label 10 of sample 1"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([-2, 1]), "label -2 of sample 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 2, 3]), "expected 2 integers"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([1.0, 2.0]), "float64"),
    ],
)
def test_unusable_arrays_are_refused_before_anything_is_written(
    tmp_path, capsys, images, labels, message
):
    np.save(tmp_path / "x.npy", images, allow_pickle=True)
    flags = []
    if labels is not None:
        np.save(tmp_path / "y.npy", labels)
        flags = ["--data.labels", tmp_path / "y.npy"]
    assert write_extra(tmp_path, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    assert write_extra(tmp_path) == 2


@pytest.mark.parametrize("name", ["pipe", "none", "."])
@pytest.mark.parametrize("flag", ["--data.images", "--data.source"])
def test_a_path_that_is_no_file_is_a_user_error(tmp_path, capsys, flag, name):
    os.mkfifo(tmp_path / "pipe")
    split = ("--data.split", "extra") if flag == "--data.images" else ()
    assert write(tmp_path / "out", flag, tmp_path / name, *split) == 2
    assert "Traceback" not in capsys.readouterr().err
