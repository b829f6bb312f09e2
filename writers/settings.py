"""Every setting of `python writers/cifar.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.config.fields import Problems, check, option, section
from writers.cifar_layouts import CLASSES

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Data:
    """Where the images come from, and where the files go."""

    source: str = option(
        "",
        "folder or archive of CIFAR, or `synthetic` for the built-in set; empty: from data.folder, "
        "or downloaded",
    )
    name: str = option("cifar10", "cifar10 or cifar100; with data.images, any name")
    images: str = option("", "your own images: .npy, uint8, N H W 3")
    labels: str = option("", "their labels: .npy, integers, -1: unknown; empty: all unknown")
    split: str = option("", "their split, for the file name: <data.name>_<data.split>.beton")
    folder: str = option("data", "where archives are searched and files are written")
    limit: int = option(0, "only the first N images of each split; 0: all", low=0)


@dataclass(frozen=True)
class Config:
    """One call of the writer."""

    data: Data = section(Data)


@check("data.")
def source_and_names_fit(config: Config) -> Problems:
    """The input, and the names of the files to write, are consistent."""
    data = config.data
    if not data.folder:
        yield "data.folder", "empty; expected a folder"
    if not data.images:
        if data.source == SYNTHETIC and data.name == "cifar100":
            yield (
                "data.name",
                f"not together with data.source {SYNTHETIC}, another data set",
            )
        if data.name not in CLASSES:
            yield "data.name", f"expected {' or '.join(CLASSES)}, found {data.name!r}"
        for name, value in (("data.labels", data.labels), ("data.split", data.split)):
            if value:
                yield name, "only together with data.images"
        return
    if data.source:
        yield "data.source", "not together with data.images"
    for name, value in (("data.name", data.name), ("data.split", data.split)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
            yield name, f"expected letters, digits, `.`, `_` or `-`, found {value!r}"
    if data.name in (*CLASSES, SYNTHETIC) and data.split in ("train", "test"):
        yield "data.split", f"{data.name}_{data.split} is a published split; choose another name"
