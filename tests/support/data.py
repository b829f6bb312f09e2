"""A small data set that a small network learns in a few steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = ("red", "green", "blue", "grey")
TRAIN_IMAGES, TEST_IMAGES = 75, 41  # neither is a multiple of a batch


@dataclass(frozen=True)
class Files:
    """A data set of a few coloured images, written by FFCV."""

    train: Path
    test: Path

    def flags(self) -> list[str]:
        """The command-line flags that name the files."""
        return ["--data.train", str(self.train), "--data.test", str(self.test)]


def coloured(samples: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noise with a class's colour on top; all classes are equally frequent."""
    random = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % len(CLASSES)
    images = random.integers(0, 120, (samples, 32, 32, 3), np.uint8)
    for channel in range(3):
        images[labels == channel, :, :, channel] += 100
    return images, labels


class _Samples:
    """A data set as FFCV's writer wants it."""

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], int]:
        return self.images[index], int(self.labels[index])


def stock_write(
    path: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    workers: int = 1,
    **image: Any,
) -> None:
    """A `.beton` file by FFCV's own writer, which forks its workers; `image` is for the field."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(**image), "label": IntField()}
    writer = DatasetWriter(str(path), fields, num_workers=workers)
    writer.from_indexed_dataset(_Samples(images, labels), chunksize=7)


def rewrite_sidecar(source: Path, target: Path, **changes: Any) -> None:
    """The sidecar of `source` beside `target`, changed as by hand: without its own digest."""
    from engine.data import sidecar

    content = json.loads(sidecar.path_of(source).read_text()) | changes
    del content[sidecar.OWN_DIGEST]
    sidecar.path_of(target).write_text(json.dumps(content))


def write_beton(
    path: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], split: str
) -> None:
    """A `.beton` file with its sidecar."""
    from engine.data import ffcv_files, sidecar

    ffcv_files.write(path, images, labels)
    size, digest = ffcv_files.verify(path, images, labels)
    counts = np.bincount(labels[labels >= 0], minlength=len(CLASSES))
    sidecar.write(
        path,
        sidecar.Sidecar(
            dataset="coloured",
            split=split,
            samples=len(images),
            classes=CLASSES,
            class_counts=tuple(int(count) for count in counts),
            mean=tuple(float(m) for m in images.mean((0, 1, 2)) / 255),
            std=tuple(float(s) for s in images.std((0, 1, 2)) / 255),
            image_shape=images.shape[1:],
            bytes=size,
            sha256=digest,
            sources={},
            versions={},
        ),
    )
