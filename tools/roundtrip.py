"""Write and read .beton files with stock FFCV, and list the native libraries in use.

`python -m tools.roundtrip` shows that an installed FFCV works with raw and JPEG images.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.writer import DatasetWriter

SAMPLES, SIDE = 64, 32
NATIVE = re.compile(r"opencv|turbojpeg|libGL|tbb|blas|lapack|gfortran|_libffcv|cv2")


class Gradients:
    """Smooth images, so that JPEG changes them little; the label is the sample's index."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Any, int]:
        down, across = np.meshgrid(*[np.linspace(index, 255 - index, SIDE)] * 2, indexing="ij")
        return np.stack([down, across, (down + across) / 2], -1).astype(np.uint8), index


def roundtrip(path: Path, mode: str) -> int:
    """The largest difference between a written and a read pixel."""
    fields = {"image": RGBImageField(write_mode=mode), "label": IntField()}
    DatasetWriter(str(path), fields, num_workers=1).from_indexed_dataset(Gradients())
    pipelines = {"image": [SimpleRGBImageDecoder()], "label": [IntDecoder()]}
    loader = Loader(
        str(path),
        batch_size=16,
        num_workers=1,
        order=OrderOption.SEQUENTIAL,
        drop_last=False,
        pipelines=pipelines,
    )
    worst, seen = 0, 0
    for images, labels in loader:
        for image, label in zip(images, labels.ravel(), strict=True):
            expected = Gradients()[int(label)][0].astype(int)
            worst = max(worst, int(abs(expected - image).max()))
            seen += 1
    if seen != SAMPLES:
        raise AssertionError(f"{seen} samples read, {SAMPLES} written")
    return worst


def native_libraries() -> list[str]:
    """The native image and linear algebra libraries that this process has loaded."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if ".so" in line}
    return sorted(file for file in files if NATIVE.search(Path(file).name))


def main() -> int:
    """0 if both kinds of images are read as written (JPEG: nearly)."""
    with tempfile.TemporaryDirectory() as folder:
        raw = roundtrip(Path(folder, "raw.beton"), "raw")
        jpeg = roundtrip(Path(folder, "jpeg.beton"), "jpg")
    print(f"raw images: largest difference {raw}; JPEG: {jpeg}", end="")
    outside = [file for file in native_libraries() if not file.startswith(sys.prefix)]
    print(f"; libraries outside {sys.prefix}: {', '.join(outside) or 'none'}")
    return 0 if raw == 0 and jpeg <= 16 else 1


if __name__ == "__main__":
    sys.exit(main())
