"""Open a `.beton` file and trust nothing in it: damage is a clear error, never a batch.

FFCV itself checks neither magic, sizes nor digests. The layout (version 2, little endian): a
24-byte header, 1,041 bytes per field, one aligned metadata record per sample, pages of data, and
an allocation table that raw images of one size do not need.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data import beton_table, sidecar
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
JPEG, RAW = range(2)
CHANNELS = 3


@dataclass(frozen=True)
class Beton:
    """A checked file: uint8 RGB images of one size, one integer label per sample."""

    path: Path
    height: int
    width: int
    pointers: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64] | None  # of the JPEG images (0: raw); None where all are raw
    labels: npt.NDArray[np.int64]
    view: npt.NDArray[np.uint8]  # the whole file, mapped
    sidecar: Sidecar | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """How many classes the labels come from."""
        if self.sidecar is not None:
            return len(self.sidecar.classes)
        return int(self.labels.max()) + 1

    @property
    def image_bytes(self) -> int:
        """The size of one decoded image."""
        return self.height * self.width * CHANNELS

    @cached_property
    def sha256(self) -> str:
        """The digest of the mapped bytes; an error if the sidecar has another."""
        digest = hashlib.sha256(self.view.data).hexdigest()
        if self.sidecar is not None and digest != self.sidecar.sha256:
            raise UserError(
                f"{self.path} is damaged or another file: its SHA-256 is {digest[:16]}..., its "
                f"sidecar says {self.sidecar.sha256[:16]}...; {sidecar.remedy(self.path)}"
            )
        return digest

    def read(
        self, ids: npt.NDArray[np.int64], out: npt.NDArray[np.uint8], *, threads: int | None = None
    ) -> None:
        """Copy the images `ids` to `out`; FFCV's decoder reads JPEG ones."""  # B H W C
        with contextlib.suppress(FileNotFoundError):  # a removed file stays mapped
            if self.path.stat().st_size < len(self.view):  # reading past the end would be SIGBUS
                raise UserError(f"{self.path}: was cut short, or replaced, while it was read")
        if self.sizes is None:
            from engine.data.kernels.gather import gather  # loads Numba

            gather(self.view, self.pointers, ids, out, threads=threads)
            return
        from engine.data import ffcv_files  # seconds of imports, for JPEG only

        for image, sample in zip(out, ids.tolist(), strict=True):
            first, size = int(self.pointers[sample]), int(self.sizes[sample])
            if not size:
                image[:] = self.view[first : first + self.image_bytes].reshape(image.shape)
            elif not ffcv_files.decode_jpeg(self.view[first : first + size], image):
                raise UserError(f"{self.path}: sample {sample:,} is no readable JPEG image")

    def images(self) -> npt.NDArray[np.uint8]:
        """All images in one array, in the order of their ids."""  # N H W C
        out = np.empty((len(self), self.height, self.width, CHANNELS), np.uint8)
        self.read(np.arange(len(self), dtype=np.int64), out)
        return out


def open_beton(path: str | Path, *, verify: bool = True) -> Beton:
    """The checked content of `path`; everything that can be wrong with it is a `UserError`.

    With `verify` the whole file is read to compare its digest; otherwise `sha256` does so when
    it is first used.
    """
    path = Path(path)
    _check_kind(path)
    known = sidecar.read(path)
    view: npt.NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, mode="r"))
    _check_size(path, view, known)
    header = _header(path, view)
    fields = np.frombuffer(view, FIELD, int(header["fields"]), HEADER.itemsize)
    image, label, layout = _fields(path, fields)
    records = _records(path, view, header, layout)
    pictures, labels = records[image], records[label].astype(np.int64)
    height, width = _image_size(path, pictures)
    pointers: npt.NDArray[np.uint64] = pictures["pointer"].astype(np.uint64)
    jpeg = pictures["mode"] == JPEG
    lengths = np.where(jpeg, 0, height * width * CHANNELS)
    lengths = beton_table.sizes(path, view[int(header["table"]) :], pointers, lengths)
    _check_places(path, pointers, lengths, _end_of_records(header, layout), int(header["table"]))
    sizes = np.where(jpeg, lengths, 0) if jpeg.any() else None
    _check_labels(path, labels, known)
    if known is not None and known.image_shape != (height, width, CHANNELS):
        shape = "x".join(map(str, known.image_shape))
        raise UserError(f"{path}: images of {height}x{width}x{CHANNELS}, its sidecar says {shape}")
    beton = Beton(path, height, width, pointers, sizes, labels, view, known)
    if verify:
        _ = beton.sha256
    return beton


def _check_kind(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {sidecar.remedy(path, again=False)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: not a regular file; expected a .beton file")
    if path.stat().st_size < HEADER.itemsize:
        raise UserError(f"{path}: {path.stat().st_size} bytes are too few for a .beton file")


def _check_size(path: Path, view: npt.NDArray[np.uint8], known: Sidecar | None) -> None:
    if known is not None and len(view) != known.bytes:
        shorter = "shorter" if len(view) < known.bytes else "longer"
        raise UserError(
            f"{path} is {shorter} than its sidecar says ({len(view):,} of {known.bytes:,} bytes); "
            f"{sidecar.remedy(path)}"
        )


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
    """The keys of image and label in a record, and the layout of a record."""
    types = fields["type"].tolist()
    if sorted(types) != [INT_FIELD, IMAGE_FIELD]:
        known = dict(enumerate(FIELD_TYPES))
        present = ", ".join(
            f"{name.decode('ascii', 'replace')} ({known.get(kind, f'type {kind}')})"
            for name, kind in zip(fields["name"].tolist(), types, strict=True)
        )
        raise UserError(f"{path}: expected one RGB image and one int field, found {present[:200]}")
    parts = {INT_FIELD: LABEL, IMAGE_FIELD: IMAGE}
    layout = np.dtype([(f"f{i}", parts[kind]) for i, kind in enumerate(types)], align=True)
    return f"f{types.index(IMAGE_FIELD)}", f"f{types.index(INT_FIELD)}", layout


def _records(path: Path, view: Any, header: Any, layout: np.dtype[Any]) -> Any:
    samples, end = int(header["samples"]), _end_of_records(header, layout)
    if end > int(header["table"]):
        raise UserError(
            f"{path}: says that it holds {samples:,} samples, but {len(view):,} bytes are too few"
        )
    return np.frombuffer(view, layout, samples, end - samples * layout.itemsize)


def _end_of_records(header: Any, layout: np.dtype[Any]) -> int:
    fields, samples = int(header["fields"]), int(header["samples"])
    return HEADER.itemsize + fields * FIELD.itemsize + samples * layout.itemsize


def _image_size(path: Path, images: Any) -> tuple[int, int]:
    """The one height and width of all images."""
    modes = images["mode"]
    if modes.max() > RAW:
        raise UserError(f"{path}: damaged (image mode {modes.max()})")
    height, width = int(images["height"][0]), int(images["width"][0])
    others = np.flatnonzero((images["height"] != height) | (images["width"] != width))
    if len(others):
        other = f"{images['height'][others[0]]}x{images['width'][others[0]]}"
        raise UserError(
            f"{path}: images of several sizes ({height}x{width} and, at sample {others[0]:,}, "
            f"{other}); expected one size"
        )
    if not height or not width:
        raise UserError(f"{path}: images of {height}x{width} pixels")
    return height, width


def _check_places(
    path: Path,
    pointers: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.int64],
    first: int,
    end: int,
) -> None:
    """Every image lies between the records and the table, and none over another."""
    # Compared before any sum: a damaged pointer near 2**64 would wrap around.
    last = np.maximum(end - lengths, 0).astype(np.uint64)
    outside = np.flatnonzero((pointers < first) | (pointers > last) | (lengths > end))
    if len(outside):
        sample = int(outside[0])
        raise UserError(
            f"{path}: sample {sample:,} points outside the data ({int(pointers[sample]):,} of "
            f"{end:,}); the file is damaged"
        )
    beton_table.check_apart(path, pointers, lengths)


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
