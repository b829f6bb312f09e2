"""Images kept in an unnamed file while they are written and compared.

FFCV imports PyTorch, some 500 MB; a machine with little memory might not hold that and all images.
The file disappears with the last process that has it open, even a killed one.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 16_000_000  # bytes of images; smaller arrays stay in memory
AT_A_TIME = 1024  # images


class DiskArray:
    """The part of an array's interface that writing needs: shape, one image, a slice of images."""

    def __init__(self, images: np.ndarray, folder: Path) -> None:
        self.shape, self.dtype, self.ndim = images.shape, images.dtype, images.ndim
        self.size, self.nbytes = images.size, images.nbytes
        with tempfile.TemporaryFile(dir=folder) as file:
            for first in range(0, len(images), AT_A_TIME):
                file.write(np.ascontiguousarray(images[first : first + AT_A_TIME]).data)
            file.flush()
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._first, self._block = 0, self._read(0, min(AT_A_TIME, len(self)))

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: int | slice) -> np.ndarray:
        if isinstance(index, slice):
            first, end, _ = index.indices(len(self))
            return self._read(first, max(first, end))
        if not self._first <= index < self._first + len(self._block):
            if not 0 <= index < len(self):
                raise IndexError(index)
            self._first = index - index % AT_A_TIME
            self._block = self._read(self._first, min(self._first + AT_A_TIME, len(self)))
        image: np.ndarray = self._block[index - self._first]
        return image

    def _read(self, first: int, end: int) -> np.ndarray:
        size = self.nbytes // len(self)
        content = os.pread(self._descriptor, (end - first) * size, first * size)
        return np.frombuffer(content, self.dtype).reshape(end - first, *self.shape[1:])


def on_disk_if_large(images: Any, folder: Path, spare: int) -> Any:
    """`images`, in a file in `folder` if they are large and need no more than `spare` bytes."""
    if images.nbytes < LARGE or images.nbytes > spare:
        return images
    return DiskArray(images, folder)
