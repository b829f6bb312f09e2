"""Images and labels of the user's own, from `.npy` files."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from engine.errors import UserError
from writers import synthetic
from writers.cifar_layouts import CLASSES


def load_images(path: Path) -> np.ndarray:
    """Images N H W 3 in uint8; anything else in the file is a named error."""
    images = _load(path)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise UserError(
            f"{path}: expected uint8 images of shape N H W 3, found {images.dtype} of shape "
            f"{images.shape}"
        )
    if 0 in images.shape:
        raise UserError(f"{path}: no images in an array of shape {images.shape}")
    return np.ascontiguousarray(images)


def load_labels(path: Path | None, count: int, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """One label per image, all -1 if there is no file, and the names of the classes."""
    classes = synthetic.CLASSES if name == "synthetic" else CLASSES.get(name, ())
    if path is None:
        return np.full(count, -1, np.int64), classes
    labels = _load(path)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise UserError(
            f"{path}: expected {count:,} integers, one per image, found {labels.dtype} of shape "
            f"{labels.shape}"
        )
    most = len(classes) - 1 if classes else 65_535
    wrong = np.flatnonzero((labels < -1) | (labels > most))
    if len(wrong):
        raise UserError(
            f"{path}: label {labels[wrong[0]]} of sample {wrong[0]:,}; expected -1 (unknown) "
            f"to {most}" + (f", the classes of {name}" if classes else "")
        )
    labels = labels.astype(np.int64)
    return labels, classes or tuple(map(str, range(int(labels.max(initial=-1)) + 1)))


def _load(path: Path) -> np.ndarray:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: not a file; expected an array written by numpy.save")
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, EOFError, MemoryError, SyntaxError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not an array written by numpy.save ({first})") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{path}: several arrays (.npz); expected one, written by numpy.save")
    return array
