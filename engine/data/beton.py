"""Open a `.beton` file and trust nothing in it: damage is a named error, never a batch.

FFCV itself checks neither magic, sizes nor digests. The layout (version 2, little endian): a
24-byte header, 1,041 bytes a field, one aligned metadata record a sample, pages of data, and an
allocation table that raw images of one size do not need.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data import sidecar
from engine.data.sidecar import Sidecar
from engine.errors import UserError

VERSION = 2
HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("fields", "<u2"),
        ("page_size", "<u4"),
        ("samples", "<u8"),
        ("table", "<u8"),
    ],
    align=True,
)
FIELD = np.dtype([("type", "u1"), ("name", "S16"), ("arguments", "V1024")])
IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
LABEL = np.dtype("<i8")
INT_FIELD, IMAGE_FIELD = 1, 2
FIELD_TYPES = ("float", "int", "RGB image", "bytes", "ndarray", "JSON", "tensor")
RAW = 1
CHANNELS = 3


@dataclass(frozen=True)
class Beton:
    """A checked file: one uint8 RGB image size, one integer label a sample."""

    path: Path
    height: int
    width: int
    pointers: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.int64]
    view: npt.NDArray[np.uint8]  # the whole file, mapped
    sidecar: Sidecar | None
    sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """How many classes the labels come from."""
        if self.sidecar is not None:
            return len(self.sidecar.classes)
        return int(self.labels.max()) + 1

    def images(self) -> npt.NDArray[np.uint8]:
        """All images in one array, in the order of their ids."""  # N H W C
        size = self.height * self.width * CHANNELS
        out = np.empty((len(self), size), np.uint8)
        # Neighbours in the file are copied together: a writer lays samples side by side in pages.
        steps = np.diff(self.pointers.astype(np.int64))
        starts = np.concatenate(([0], np.flatnonzero(steps != size) + 1, [len(self)]))
        for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            begin = int(self.pointers[first])
            block = self.view[begin : begin + (end - first) * size]
            out[first:end] = block.reshape(end - first, size)
        return out.reshape(len(self), self.height, self.width, CHANNELS)


def open_beton(path: str | Path) -> Beton:
    """The checked content of `path`; everything that can be wrong with it is a `UserError`."""
    path = Path(path)
    _check_kind(path)
    known = sidecar.read(path)
    view: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
    digest = _check_sidecar(path, view, known)
    header = _header(path, view)
    fields = np.frombuffer(view, FIELD, int(header["fields"]), HEADER.itemsize)
    image, label, layout = _fields(path, fields)
    records = _records(path, view, header, layout)
    pictures, labels = records[image], records[label].astype(np.int64)
    height, width = _image_size(path, pictures, header, len(view))
    _check_labels(path, labels, known)
    if known is not None and known.image_shape != (height, width, CHANNELS):
        shape = "x".join(map(str, known.image_shape))
        raise UserError(f"{path}: images of {height}x{width}x{CHANNELS}, its sidecar says {shape}")
    pointers = pictures["pointer"].astype(np.uint64)
    return Beton(path, height, width, pointers, labels, view, known, digest)


def _check_kind(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write it with: python writers/cifar.py") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: not a regular file; expected a .beton file")
    if path.stat().st_size < HEADER.itemsize:
        raise UserError(f"{path}: {path.stat().st_size} bytes are too few for a .beton file")


def _check_sidecar(path: Path, view: npt.NDArray[np.uint8], known: Sidecar | None) -> str:
    if known is not None and len(view) != known.bytes:
        shorter = "shorter" if len(view) < known.bytes else "longer"
        raise UserError(
            f"{path} is {shorter} than its sidecar says ({len(view):,} of {known.bytes:,} bytes); "
            "write it again with: python writers/cifar.py --force"
        )
    digest = sidecar.sha256_of(path)
    if known is not None and digest != known.sha256:
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 is {digest[:16]}..., its sidecar "
            f"says {known.sha256[:16]}...; write it again with: python writers/cifar.py --force"
        )
    return digest


def _header(path: Path, view: npt.NDArray[np.uint8]) -> Any:
    header = np.frombuffer(view, HEADER, 1)[0]
    if header["version"] != VERSION:
        raise UserError(
            f"{path}: not a .beton file of version {VERSION} (it begins with version "
            f"{header['version']})"
        )
    if header["samples"] == 0:
        raise UserError(f"{path}: holds no sample, or its writer was stopped before the end")
    need = HEADER.itemsize + int(header["fields"]) * FIELD.itemsize
    if not header["fields"] > 0 or need > len(view):
        raise UserError(f"{path}: cut short in its header ({len(view):,} bytes)")
    if not need <= header["table"] <= len(view):
        raise UserError(
            f"{path}: its table pointer {header['table']:,} lies outside the file "
            f"({len(view):,} bytes); it is damaged or its writer was stopped"
        )
    return header


def _fields(path: Path, fields: Any) -> tuple[str, str, np.dtype[Any]]:
    """The record's keys of the image and the label, and the layout of a record."""
    types = fields["type"].tolist()
    if sorted(types) != [INT_FIELD, IMAGE_FIELD]:
        found = ", ".join(
            f"{name.decode('ascii', 'replace')} ({_type_name(kind)})"
            for name, kind in zip(fields["name"].tolist(), types, strict=True)
        )
        raise UserError(f"{path}: expected one RGB image and one int field, found {found[:200]}")
    parts = {INT_FIELD: LABEL, IMAGE_FIELD: IMAGE}
    layout = np.dtype([(f"f{i}", parts[kind]) for i, kind in enumerate(types)], align=True)
    return f"f{types.index(IMAGE_FIELD)}", f"f{types.index(INT_FIELD)}", layout


def _type_name(kind: int) -> str:
    return FIELD_TYPES[kind] if kind < len(FIELD_TYPES) else f"type {kind}"


def _records(path: Path, view: Any, header: Any, layout: np.dtype[Any]) -> Any:
    start = HEADER.itemsize + int(header["fields"]) * FIELD.itemsize
    samples = int(header["samples"])
    if start + samples * layout.itemsize > len(view):
        raise UserError(
            f"{path}: says that it holds {samples:,} samples, but {len(view):,} bytes are too few"
        )
    return np.frombuffer(view, layout, samples, start)


def _image_size(path: Path, images: Any, header: Any, length: int) -> tuple[int, int]:
    """The one height and width of all images, each of which lies inside the data pages."""
    modes = np.unique(images["mode"])
    if modes.tolist() != [RAW]:
        raise UserError(
            f"{path}: holds JPEG-compressed images; write it with RGBImageField(write_mode='raw')"
            if 0 in modes
            else f"{path}: damaged (image mode {modes[-1]})"
        )
    sizes = np.unique(np.stack((images["height"], images["width"]), 1), axis=0)
    if len(sizes) != 1:
        few = ", ".join(f"{h}x{w}" for h, w in sizes[:3].tolist())
        raise UserError(f"{path}: images of {len(sizes)} sizes ({few} ...); expected one size")
    height, width = (int(side) for side in sizes[0])
    if not height or not width:
        raise UserError(f"{path}: images of {height}x{width} pixels")
    size = height * width * CHANNELS
    end = min(int(header["table"]), length)
    first = HEADER.itemsize + int(header["fields"]) * FIELD.itemsize
    pointers = images["pointer"]
    # Compared before any sum: a damaged pointer near 2**64 would wrap around.
    outside = np.flatnonzero((pointers < first) | (pointers > end - min(size, end)))
    if len(outside) or size > end:
        sample = int(outside[0]) if len(outside) else 0
        raise UserError(
            f"{path}: sample {sample:,} points outside the data ({int(pointers[sample]):,} of "
            f"{end:,}); the file is damaged"
        )
    return height, width


def _check_labels(path: Path, labels: Any, known: Sidecar | None) -> None:
    low, high = int(labels.min()), int(labels.max())
    classes = len(known.classes) if known is not None else 1_000_000
    if low < -1 or high >= classes:
        wrong = low if low < -1 else high
        raise UserError(f"{path}: label {wrong} is outside 0 to {classes - 1} (-1: unknown)")
    if known is not None and known.samples != len(labels):
        raise UserError(
            f"{path}: holds {len(labels):,} samples, its sidecar says {known.samples:,}"
        )
    if known is not None:
        counts = np.bincount(labels[labels >= 0], minlength=classes).tolist()
        if counts != list(known.class_counts):
            raise UserError(f"{path}: its labels are not those that its sidecar counts")
