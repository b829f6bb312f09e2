"""CIFAR-10 in six pieces of 17 MB, for machines that files reach a few at a time.

    python -m benchmarks.gpu.pieces data/cifar-10-batches-py FOLDER   makes them

A piece is a published batch whose 10,000 images are one lossless WebP sheet, 100 x 100 tiles row by
row; `frames.tar.xz` has the bytes of each batch before and after its pixels, and the names of the
classes. Every file that is made of them is compared with its published digest.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine import atomic
from engine.errors import OK, UserError, run_command
from engine.parser import Parser
from writers.cifar_layouts import LAYOUTS, PIXELS, SIDE

LAYOUT = next(each for each in LAYOUTS if each.folder == "cifar-10-batches-py")
FRAMES = "frames.tar.xz"
BATCHES = (*LAYOUT.train, *LAYOUT.test)
ACROSS = 100  # tiles
EFFORT: dict[str, Any] = {"quality": 100, "method": 4}  # of the compression


def main(argv: Sequence[str]) -> int:
    """Make the pieces."""
    parser = Parser("python -m benchmarks.gpu.pieces", __doc__)
    parser.add_argument("batches", type=Path, help="the folder of the published batches")
    parser.add_argument("folder", type=Path, help="where the pieces are written")
    args = parser.parse_args(argv)
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    pack(args.batches, folder)
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return OK


def is_here(folder: Path) -> bool:
    """Whether any of the pieces is in `folder`."""
    return any((folder / name).exists() for name in _names())


def missing(folder: Path) -> list[str]:
    """The pieces that are not in `folder` yet."""
    return [name for name in _names() if not (folder / name).exists()]


def pack(source: Path, folder: Path) -> None:
    """Write the six pieces and the frames of the published batches in `source`."""
    with tarfile.open(folder / FRAMES, "w:xz") as frames:
        for name in LAYOUT.files:
            content = (source / name).read_bytes()
            _check(name, content)
            if name not in BATCHES:
                _add(frames, name, content)
                continue
            begin = _pixels_begin(name, content)
            end = begin + LAYOUT.records_of(name) * PIXELS
            planes = np.frombuffer(content[begin:end], np.uint8).reshape(-1, 3, SIDE, SIDE)
            _sheet(planes).save(folder / f"{name}.webp", lossless=True, **EFFORT)
            _add(frames, f"{name}.head", content[:begin])
            _add(frames, f"{name}.tail", content[end:])


def unpack(folder: Path, target: Path) -> Path:
    """Write the published batches to `target`; what is there and right is left alone."""
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / FRAMES) as frames:
        parts = {each.name: _read(frames, each) for each in frames.getmembers() if each.isfile()}
    for name in LAYOUT.files:
        path = target / name
        if path.exists() and _is_published(name, path.read_bytes()):
            continue
        content = parts.get(name)
        if content is None:
            pixels = _pixels(folder / f"{name}.webp")
            content = parts[f"{name}.head"] + pixels + parts[f"{name}.tail"]
        _check(name, content)
        atomic.write_bytes(path, content)
    return target


def _names() -> list[str]:
    return [FRAMES, *(f"{name}.webp" for name in BATCHES)]


def _pixels_begin(name: str, content: bytes) -> int:
    """Where the pixels begin: a published batch has them as one string, by far its longest."""
    size = LAYOUT.records_of(name) * PIXELS
    header = b"T" + size.to_bytes(4, "little")  # pickle's opcode of a string, and its length
    at = content.find(header)
    if at < 0:
        raise UserError(f"{name}: its pixels were not found")
    return at + len(header)


def _sheet(planes: np.ndarray) -> Image.Image:
    rows = len(planes) // ACROSS
    tiles = planes.reshape(rows, ACROSS, 3, SIDE, SIDE).transpose(0, 3, 1, 4, 2)
    return Image.fromarray(np.ascontiguousarray(tiles.reshape(rows * SIDE, ACROSS * SIDE, 3)))


def _pixels(path: Path) -> bytes:
    sheet = np.asarray(Image.open(path).convert("RGB"))  # within Pillow's limit of pixels
    tiles = sheet.reshape(-1, SIDE, ACROSS, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles).tobytes()


def _add(frames: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    frames.addfile(entry, io.BytesIO(content))


def _read(frames: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = frames.extractfile(entry)
    assert file is not None  # a plain file
    return file.read()


def _is_published(name: str, content: bytes) -> bool:
    kind, _, digest = LAYOUT.files[name].partition(":")
    return hashlib.new(kind, content).hexdigest() == digest


def _check(name: str, content: bytes) -> None:
    if not _is_published(name, content):
        raise UserError(f"{name}: not the published file ({LAYOUT.files[name]})")


if __name__ == "__main__":
    sys.exit(run_command(main))
