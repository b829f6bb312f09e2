"""Damage to a `.beton` file is a named error; files of stock FFCV are read as they are."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data import sidecar
from engine.data.beton import open_beton
from engine.errors import UserError
from tests.support.data import TRAIN_IMAGES, Files, coloured, rewrite_sidecar, stock_write

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
FIRST_RECORD = 24 + 2 * 1041


@pytest.fixture
def copy(files: Files, tmp_path: Path) -> Path:
    """A copy to damage, without its sidecar."""
    return Path(shutil.copy(files.train, tmp_path / "copy.beton"))


def _with_sidecar(files: Files, copy: Path) -> Path:
    shutil.copy(sidecar.path_of(files.train), sidecar.path_of(copy))
    return copy


def _patch(path: Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize("workers", [1, 3])
def test_files_of_stock_ffcv_are_read_whatever_its_workers(tmp_path: Path, workers: int) -> None:
    images, labels = coloured(3000, seed=4)  # more than one page
    path = tmp_path / "stock.beton"
    stock_write(path, images, labels, workers, write_mode="raw")
    beton = open_beton(path)
    assert beton.sidecar is None
    assert (beton.images() == images).all()
    assert (beton.labels == labels).all()
    assert beton.classes == 4


@pytest.mark.parametrize("mode", ["jpg", "proportion"])
def test_jpeg_files_are_read_by_ffcvs_decoder(tmp_path: Path, mode: str) -> None:
    from ffcv.fields.decoders import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    path = tmp_path / "jpeg.beton"
    images, labels = coloured(20, seed=4)
    stock_write(path, images, labels, write_mode=mode)
    beton = open_beton(path)
    assert beton.sizes is not None
    assert (beton.sizes == 0).any() == (mode == "proportion")
    stock = Loader(
        str(path),
        20,
        num_workers=1,
        order=OrderOption.SEQUENTIAL,
        pipelines={"image": [SimpleRGBImageDecoder()], "label": None},
    )
    ((expected, *_),) = stock
    decoded = beton.images()
    assert (decoded == expected).all()
    assert not (decoded == images).all()
    some = np.array([3, 19, 3, 0])
    out = np.empty((4, 32, 32, 3), np.uint8)
    beton.read(some, out)
    assert (out == decoded[some]).all()
    assert (beton.labels == labels).all()


def test_a_jpeg_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "jpeg.beton"
    stock_write(path, *coloured(10, seed=4), write_mode="jpg")
    _patch(path, int(open_beton(path).pointers[7]), b"\0\0\0\0")
    with pytest.raises(UserError, match="sample 7 is no readable JPEG"):
        open_beton(path).images()
    _patch(path, 24 + 2 * 1041 + 5 + 24, struct.pack("<Q", 9_000_000))
    with pytest.raises(UserError, match="where sample 1 begins"):
        open_beton(path)


def test_a_shorter_file_is_named_with_both_sizes(files: Files, copy: Path) -> None:
    _with_sidecar(files, copy)
    os.truncate(copy, 12_000_000)
    with pytest.raises(UserError, match=r"shorter than its sidecar says \(12,000,000 of"):
        open_beton(copy)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_bit_is_detected(files: Files, copy: Path, data: st.DataObject) -> None:
    _with_sidecar(files, copy)
    offset = data.draw(st.integers(0, copy.stat().st_size - 1))
    with open(copy, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        _patch(copy, offset, bytes([byte ^ (1 << data.draw(st.integers(0, 7)))]))
    try:
        with pytest.raises(UserError, match="copy.beton"):
            open_beton(copy)
    finally:
        _patch(copy, offset, bytes([byte]))


def test_files_swapped_under_their_sidecars_are_detected(files: Files, tmp_path: Path) -> None:
    swapped = tmp_path / "swapped.beton"
    shutil.copy(files.test, swapped)
    shutil.copy(sidecar.path_of(files.train), sidecar.path_of(swapped))
    with pytest.raises(UserError, match="sidecar"):
        open_beton(swapped)


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (0, struct.pack("<H", 1), "version 1"),
        (2, struct.pack("<H", 0), "cut short in its header"),
        (2, struct.pack("<H", 60000), "cut short in its header"),
        (2, struct.pack("<H", 3), "expected one RGB image and one int field"),
        (8, struct.pack("<Q", 0), "holds no sample"),
        (8, struct.pack("<Q", 2**40), "too few"),
        (8, struct.pack("<Q", 2**63), "too few"),
        (16, struct.pack("<Q", 0), "table pointer 0"),
        (16, struct.pack("<Q", 2**63), "table pointer"),
        (24, b"\x04", "found image .ndarray."),
        (24, b"\xff", "type 255"),
        (FIRST_RECORD, b"\x07", "image mode 7"),
        (FIRST_RECORD + 1, struct.pack("<H", 31), "images of several sizes"),
        (FIRST_RECORD + 5, struct.pack("<Q", 0), "where sample 0 begins"),
        (FIRST_RECORD + 5, struct.pack("<Q", 2**64 - 1), "where sample 0 begins"),
        (FIRST_RECORD + 16, struct.pack("<q", -2), "label -2"),
        (FIRST_RECORD + 16, struct.pack("<q", 2**40), "label 1099511627776"),
    ],
)
def test_damage_to_the_index_is_named_even_without_a_sidecar(
    copy: Path, offset: int, content: bytes, message: str
) -> None:
    _patch(copy, offset, content)
    with pytest.raises(UserError, match=message):
        open_beton(copy)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    offset=st.integers(0, FIRST_RECORD + TRAIN_IMAGES * 24 - 1),
    content=st.binary(min_size=1, max_size=16),
    length=st.none() | st.integers(0, 9_000_000),
)
def test_any_damage_to_the_index_gives_data_or_a_named_error(
    files: Files, copy: Path, offset: int, content: bytes, length: int | None
) -> None:
    _patch(copy, offset, content)
    if length is not None:
        os.truncate(copy, length)
    try:
        beton = open_beton(copy)
        assert beton.images().shape == (len(beton), beton.height, beton.width, 3)
    except UserError as error:
        assert str(copy) in str(error)
    finally:
        shutil.copy(files.train, copy)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 500, FIRST_RECORD, FIRST_RECORD + 24])
def test_a_file_cut_in_its_index_is_refused(copy: Path, size: int) -> None:
    os.truncate(copy, size)
    with pytest.raises(UserError, match="copy.beton"):
        open_beton(copy)


def test_a_path_that_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_beton(tmp_path / "absent.beton")
    with pytest.raises(UserError, match="not a regular file"):
        open_beton(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match="not a regular file"):
        open_beton(tmp_path / "fifo")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"samples": "75"},
        {"classes": [1, 2]},
        {"sha256": None},
        {"samples": TRAIN_IMAGES + 1},
        {"samples": True},
        {"classes": ["one"]},
        {"classes": ["one"], "class_counts": [TRAIN_IMAGES]},
        {"class_counts": [19, 19, 19]},
        {"class_counts": [18, 20, 19, 18]},
        {"mean": [0.4, float("nan"), 0.4]},
        {"mean": [0.4, 0.4]},
        {"mean": [0.4, 0.4, 1.5]},
        {"std": [0.2, 0.2, -0.2]},
        {"std": [0.2, 0.2, True]},
        {"image_shape": []},
        {"image_shape": [16, 16, 3]},
    ],
)
def test_a_sidecar_that_contradicts_its_file_is_refused(
    files: Files, copy: Path, change: dict[str, Any]
) -> None:
    rewrite_sidecar(files.train, copy)
    open_beton(copy)
    rewrite_sidecar(files.train, copy, **change)
    with pytest.raises(UserError, match="copy.beton"):
        open_beton(copy)


def test_a_sidecar_with_one_flipped_bit_is_refused(files: Files, copy: Path) -> None:
    whole = sidecar.path_of(files.train).read_bytes()
    before = sidecar.read(files.train)
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        sidecar.path_of(copy).write_bytes(damaged)
        try:
            content = sidecar.read(copy)
        except UserError:
            continue
        assert content == before, f"byte {place}"  # white space, or the name of the digest itself


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_sidecar_that_is_no_regular_file_is_refused_without_waiting(
    copy: Path, make: Callable[[Path], None]
) -> None:
    make(sidecar.path_of(copy))
    with pytest.raises(UserError, match=r"copy.beton.json: not a regular file"):
        open_beton(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000])
def test_a_broken_sidecar_is_refused(copy: Path, content: str) -> None:
    sidecar.path_of(copy).write_text(content)
    with pytest.raises(UserError, match=r"copy.beton.json"):
        open_beton(copy)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\ud800", "\u2028"])
def test_a_sidecar_with_control_characters_is_refused(files: Files, copy: Path, text: str) -> None:
    for change in ({"dataset": text}, {"classes": [text, "b", "c", "d"]}, {"sources": {text: ""}}):
        rewrite_sidecar(files.train, copy, **change)
        with pytest.raises(UserError, match="copy.beton.json: not a sidecar"):
            open_beton(copy)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" + "0" * 9000, "1e999", "-1e-400"])
def test_a_sidecar_with_an_impossible_number_is_refused(
    files: Files, copy: Path, number: str
) -> None:
    text = sidecar.path_of(files.train).read_text()
    content = json.loads(text)
    del content[sidecar.OWN_DIGEST]
    content["mean"][0] = "NUMBER"
    sidecar.path_of(copy).write_text(json.dumps(content).replace('"NUMBER"', number))
    if number == "-1e-400":  # zero
        open_beton(copy)
        return
    with pytest.raises(UserError, match=r"copy.beton.json: not"):
        open_beton(copy)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("cifar10_train", "--data.folder {folder}"),
        ("cifar100_test", "--data.name cifar100 --data.folder {folder}"),
        ("synthetic_train", "--data.source synthetic --data.folder {folder}"),
    ],
)
def test_the_remedy_writes_the_file_that_is_missing_or_damaged(
    files: Files, tmp_path: Path, name: str, command: str
) -> None:
    path = tmp_path / f"{name}.beton"
    words = "python writers/cifar.py " + command.format(folder=tmp_path)
    with pytest.raises(UserError, match=f"no such file; write it with: {words}$"):
        open_beton(path)
    shutil.copy(files.test, path)
    shutil.copy(sidecar.path_of(files.train), sidecar.path_of(path))
    with pytest.raises(UserError, match=f"; write it again with: {words} --force$"):
        open_beton(path)


def test_no_command_is_named_for_files_of_the_users_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file; write it from its source, as docs/own_d"):
        open_beton(tmp_path / "mine_train.beton")
