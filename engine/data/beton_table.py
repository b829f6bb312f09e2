"""The table at the end of a `.beton` file, which repeats where each image lies and its length.

FFCV's own writer leaves it empty where its workers wrote different numbers of images, so a file of
raw images, whose lengths are known, may be without one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import UserError

ENTRY = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("size", "<u8")])


def sizes(
    path: Path,
    table: npt.NDArray[np.uint8],
    pointers: npt.NDArray[np.uint64],
    raw: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """The length of each image; `raw` has those of raw images, and 0 for JPEG ones.

    Raises where the table contradicts the records of the samples.
    """
    if not len(table) and raw.all():
        return raw
    expected = len(pointers) * ENTRY.itemsize
    if len(table) != expected:
        raise UserError(
            f"{path}: its table has {len(table):,} bytes, but {len(pointers):,} samples need "
            f"{expected:,}; the file is damaged"
        )
    entries = table.view(ENTRY)
    ids = np.arange(len(pointers), dtype=np.uint64)
    if not np.array_equal(entries["sample"], ids):  # several workers wrote it
        entries = entries[np.argsort(entries["sample"], kind="stable")]
    lengths = entries["size"].astype(np.int64)
    wrong = (entries["sample"] != ids) | (entries["pointer"] != pointers) | (lengths <= 0)
    wrong |= (raw > 0) & (lengths != raw)
    if wrong.any():
        sample = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{path}: its table does not say where sample {sample:,} begins and ends as its record "
            "does; the file is damaged"
        )
    return lengths


def check_apart(
    path: Path, pointers: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64]
) -> None:
    """Raise where two images share bytes; each lies within the file."""
    ends = pointers + lengths.astype(np.uint64)
    if (pointers[1:] >= ends[:-1]).all():  # as one worker writes them
        return
    order = np.argsort(pointers, kind="stable")
    shared = np.flatnonzero(pointers[order][1:] < ends[order][:-1])
    if len(shared):
        first, second = sorted(order[shared[0] : shared[0] + 2].tolist())
        raise UserError(
            f"{path}: samples {first:,} and {second:,} lie over each other; the file is damaged"
        )
