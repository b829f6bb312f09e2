"""The `.beton` files and their sidecars: all of them new, or all as they were.

Every file is written beside its target, read back, compared and brought to the disk before the
first is renamed. Each `.beton` is renamed before its sidecar. So a crash between the two leaves
a whole new file under an old sidecar or none; the next call sees that the bytes are those that
it would write, and only puts the sidecar right. Anything else that lies there and differs, a
damaged file too, is somebody's to decide about: it is replaced with --force only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engine import atomic
from engine.data import sidecar
from engine.errors import REFUSALS, UserError
from writers import dataset_statistics, disk_array, library_memory
from writers.cifar_files import digest_of
from writers.console import Console, CtrlC


@dataclass(frozen=True)
class Target:
    """One file that is wanted, and what is known of it before anything is read."""

    path: Path
    dataset: str
    split: str
    samples: int
    sources: dict[str, str]


@dataclass(frozen=True)
class LabelledImages:
    """What goes into it."""

    images: Any  # an array, or one that was set aside (`writers.disk_array`)
    labels: np.ndarray
    classes: tuple[str, ...]


def is_right(target: Target) -> bool:
    """Whether the file lies there whole, of these sources: its sidecar says so, and is true."""
    if not os.path.lexists(target.path):
        return False
    if not target.path.is_file():
        raise UserError(f"{target.path}: not a file; expected a .beton file or nothing")
    try:
        known = sidecar.read(target.path)
    except UserError:  # broken: as good as none, it is only a description
        return False
    return (
        known is not None
        and (known.dataset, known.split) == (target.dataset, target.split)
        and (known.samples, known.sources) == (target.samples, target.sources)
        and known.bytes == target.path.stat().st_size
        and known.sha256 == sidecar.sha256_of(target.path)
    )


def write(
    targets: Sequence[Target],
    contents: dict[str, LabelledImages],
    force: bool,
    console: Console,
    ctrl_c: CtrlC,
) -> None:
    """Write all targets, or leave all as they were; what differs is replaced with `force` only.

    `contents`, by split, is used up: what was written is let go of.
    """
    ctrl_c.check()
    folder = targets[0].path.parent
    _make_folder(folder)
    _set_aside(contents, folder)
    ffcv_files = _import_ffcv()
    _check_space(targets, contents, ffcv_files)
    refused = []
    with contextlib.ExitStack() as stack:
        for target in targets:
            described = stack.enter_context(atomic.replacing(sidecar.path_of(target.path)))
            partial = stack.enter_context(atomic.replacing(target.path))
            with _naming(target.path):
                content = contents.pop(target.split)
                made = _write(target, content, partial, console, ffcv_files)
                del content
                described.write_text(sidecar.text_of(made), encoding="utf-8")
                for written in (partial, described):
                    _sync(written)
            if not force and _differs(target.path, made):
                refused.append(
                    f"{target.path}: there already, and not what would be written; replace it "
                    "with --force"
                )
            ctrl_c.check()
        if refused:
            raise UserError(*refused)
        ctrl_c.defer()


def _import_ffcv() -> ModuleType:
    """Seconds of imports and hundreds of megabytes, now that there is room."""
    import torch  # noqa: F401  # FFCV would: by itself, so that what it mapped is gone before more is

    library_memory.release()
    from engine.data import ffcv_files

    library_memory.release()
    return ffcv_files


def _set_aside(contents: dict[str, LabelledImages], folder: Path) -> None:
    """Into files where the disk has room for them and for what is made of them."""
    spare = shutil.disk_usage(folder).free // 3
    for split in list(contents):
        images = contents[split].images
        with _naming(folder):
            kept = disk_array.on_disk_if_large(images, folder, spare)
        spare -= images.nbytes
        contents[split] = dataclasses.replace(contents[split], images=kept)


def _write(
    target: Target, content: LabelledImages, partial: Path, console: Console, ffcv_files: ModuleType
) -> sidecar.Sidecar:
    show = console.progress(str(target.path))
    ffcv_files.write(partial, content.images, content.labels, show)
    written = ffcv_files.verify(partial, content.images, content.labels, show)
    mean, std = dataset_statistics.mean_and_std(content.images)
    return sidecar.Sidecar(
        dataset=target.dataset,
        split=target.split,
        samples=target.samples,
        classes=content.classes,
        class_counts=dataset_statistics.class_counts(content.labels, len(content.classes)),
        mean=mean,
        std=std,
        image_shape=content.images.shape[1:],
        bytes=written.bytes,
        sha256=written.sha256,
        sources=target.sources,
        versions={
            "ffcv": ffcv_files.VERSION,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def _differs(path: Path, made: sidecar.Sidecar) -> bool:
    if not path.exists():
        return False
    if path.stat().st_size != made.bytes:
        return True
    return digest_of(path, "sha256") != f"sha256:{made.sha256}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made a folder ({error.strerror})") from None


def _check_space(
    targets: Sequence[Target], contents: dict[str, LabelledImages], ffcv_files: ModuleType
) -> None:
    folder = targets[0].path.parent
    needed = sum(
        ffcv_files.size_of(target.samples, contents[target.split].images[0].nbytes) + (1 << 16)
        for target in targets
    )
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: no space left on the disk: {needed:,} bytes are needed, {free:,} are free"
        )


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever the system refuses becomes a problem with this file."""
    try:
        yield
    except OSError as error:
        reason = REFUSALS.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"{path}: {reason}; the files are as they were") from None


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
