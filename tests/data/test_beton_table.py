"""Without a sidecar, everything that a raw file says twice is compared."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.config.schema import Config, Data
from engine.data.beton import HEADER, IMAGE, LABEL, open_beton
from engine.data.beton_table import ENTRY
from engine.data.sets import open_sets
from engine.errors import UserError
from tests.support.data import TRAIN_IMAGES, Files

RECORD = np.dtype([("f0", IMAGE), ("f1", LABEL)], align=True)
RECORDS = HEADER.itemsize + 2 * 1041


@pytest.fixture
def raw(files: Files, tmp_path: Path) -> Path:
    """A copy without a sidecar."""
    return Path(shutil.copy(files.train, tmp_path / "raw.beton"))


def _changed(path: Path, change: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> None:
    content = np.memmap(path, np.uint8, mode="r+")
    header = content[: HEADER.itemsize].view(HEADER)
    records = content[RECORDS : RECORDS + TRAIN_IMAGES * RECORD.itemsize].view(RECORD)
    change(header, records, content[int(header["table"][0]) :].view(ENTRY))
    content.flush()


def _one_pointer(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    records["f0"]["pointer"][7] = records["f0"]["pointer"][3]
    table["pointer"][7] = table["pointer"][3]


def _overlap(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    records["f0"]["pointer"][7] += 1
    table["pointer"][7] += 1


def _into_the_records(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    records["f0"]["pointer"][0] = table["pointer"][0] = RECORDS


def _fewer(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    header["samples"] = TRAIN_IMAGES - 64  # one bit


def _zeroed(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    table["sample"], table["pointer"], table["size"] = 0, 0, 0


def _moved(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    records["f0"]["pointer"][7] += 1


def _shorter(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    table["size"][7] -= 1


def _twice(header: np.ndarray, records: np.ndarray, table: np.ndarray) -> None:
    table["sample"][7] = 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_one_pointer, "samples 3 and 7 lie over each other"),
        (_overlap, "samples 7 and 8 lie over each other"),
        (_into_the_records, "sample 0 points outside the data"),
        (_fewer, "its table has 1,800 bytes, but 11 samples need 264"),
        (_zeroed, "its table does not say where sample 0 begins"),
        (_moved, "its table does not say where sample 7 begins"),
        (_shorter, "its table does not say where sample 7 begins"),
        (_twice, "its table does not say where sample 7 begins"),
    ],
)
def test_a_raw_file_that_contradicts_its_table_is_refused(
    raw: Path, change: Callable[[np.ndarray, np.ndarray, np.ndarray], None], message: str
) -> None:
    _changed(raw, change)
    with pytest.raises(UserError, match=message):
        open_beton(raw)


@pytest.mark.parametrize("kept", [1, 24, 24 * (TRAIN_IMAGES - 1), 24 * TRAIN_IMAGES - 1])
def test_a_raw_file_cut_in_its_table_is_refused(raw: Path, kept: int) -> None:
    os.truncate(raw, raw.stat().st_size - 24 * TRAIN_IMAGES + kept)
    with pytest.raises(UserError, match="its table has"):
        open_beton(raw)


def test_entries_in_the_order_of_several_workers_are_read(raw: Path) -> None:
    before = open_beton(raw).images()
    _changed(raw, lambda header, records, table: np.random.default_rng(0).shuffle(table))
    assert (open_beton(raw).images() == before).all()


def test_the_empty_table_of_ffcvs_unequal_workers_is_no_damage(raw: Path) -> None:
    before = open_beton(raw).images()
    os.truncate(raw, raw.stat().st_size - 24 * TRAIN_IMAGES)
    assert (open_beton(raw).images() == before).all()
    _changed(raw, lambda header, records, table: records["f0"]["pointer"].__setitem__(7, 2**40))
    with pytest.raises(UserError, match="sample 7 points outside"):
        open_beton(raw)


def test_a_label_far_beyond_the_others_is_refused_in_training(raw: Path, files: Files) -> None:
    config = Config(data=Data(str(raw), str(files.test)))
    _changed(raw, lambda header, records, table: records["f1"].__setitem__(3, 4))
    assert len(open_sets(config, "cpu").classes) == 5  # perhaps a class with few images
    with open(raw, "r+b") as file:
        file.seek(RECORDS + 16 + 3 * RECORD.itemsize)
        file.write(struct.pack("<q", 255))
    with pytest.raises(UserError, match="labels up to 255, but only 5 of these 256 classes"):
        open_sets(config, "cpu")
