"""`python writers/cifar.py` called as a function, and what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.errors import run_command
from writers import cifar


def write(folder: Path, *flags: str | Path) -> int:
    """Write into `folder`; the exit code."""
    return run_command(cifar.main, ["--data.folder", str(folder), *map(str, flags)])


def write_synthetic(folder: Path, *flags: str, limit: int = 300) -> int:
    """Write the first images of the synthetic set into `folder`; the exit code."""
    return write(folder, "--data.source", "synthetic", "--data.limit", str(limit), *flags)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of `folder`."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def times(folder: Path) -> dict[str, int]:
    """When each file of `folder` was last changed."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def images_and_labels(beton: Path) -> tuple[np.ndarray, np.ndarray]:
    """What stock FFCV reads from a file of 32x32 images."""
    from ffcv.reader import Reader

    reader = Reader(str(beton))
    content = np.fromfile(beton, np.uint8)
    pointers = reader.metadata["f0"]["data_ptr"].astype(np.int64)
    images = [content[start : start + 3072].reshape(32, 32, 3) for start in pointers]
    return np.stack(images), reader.metadata["f1"]
