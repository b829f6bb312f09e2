"""The `.beton` files and their sidecars: all of them new, or all unchanged.

Every file is written beside its target, read back, compared and synced to the disk before the first
is renamed. Each `.beton` is renamed before its sidecar, so a crash between the two leaves a whole
new file with an old sidecar or none; the next call sees that the file has the bytes that it would
write, and replaces only the sidecar. Any other existing file that differs, a damaged one too, is
replaced with --force only.
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
from engine.errors import SYSTEM_ERRORS, UserError, with_path
from writers import dataset_statistics, disk_array, library_memory
from writers.console import Console, CtrlC


@dataclass(frozen=True)
class Target:
    """One file to write, and what is known of it before any image is read."""

    path: Path
    dataset: str
    split: str
    samples: int
    sources: dict[str, str]


@dataclass(frozen=True)
class LabelledImages:
    """The content of one file."""

    images: Any  # an array, or a `disk_array.DiskArray`
    labels: np.ndarray
    classes: tuple[str, ...]

    def first(self, count: int) -> LabelledImages:
        """The first `count` of them."""
        return LabelledImages(self.images[:count], self.labels[:count], self.classes)


def is_right(target: Target) -> bool:
    """Whether the file exists, was written from these sources and is undamaged, by its sidecar."""
    if not os.path.lexists(target.path):
        return False
    if not target.path.is_file():
        raise UserError(f"{target.path}: not a file; expected a .beton file or nothing")
    try:
        known = sidecar.read(target.path)
    except UserError:  # a damaged sidecar can be written again
        return False
    return (
        known is not None
        and (known.dataset, known.split) == (target.dataset, target.split)
        and (known.samples, known.sources) == (target.samples, target.sources)
        and known.bytes == target.path.stat().st_size
        and known.sha256 == sidecar.digest_of(target.path)
    )


def write(
    targets: Sequence[Target],
    contents: dict[str, LabelledImages],
    force: bool,
    console: Console,
    ctrl_c: CtrlC,
) -> None:
    """Write all targets, or leave all as they were; other content is replaced with `force` only.

    `contents`, by split, is emptied on the way, to free the memory of what is written.
    """
    ctrl_c.check()
    folder = targets[0].path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise with_path(error, folder) from None
    _move_to_disk(contents, folder)
    ffcv_files = _import_ffcv()
    _check_space(targets, contents, ffcv_files)
    refused = []
    with contextlib.ExitStack() as stack:
        for target in targets:
            partial_sidecar = stack.enter_context(atomic.replacing(sidecar.path_of(target.path)))
            partial = stack.enter_context(atomic.replacing(target.path))
            with _os_errors_name(target.path):
                content = contents.pop(target.split)
                new = _write(target, content, partial, console, ffcv_files)
                del content
                partial_sidecar.write_text(sidecar.text_of(new), encoding="utf-8")
                for path in (partial, partial_sidecar):
                    _sync(path)
            if not force and _differs(target.path, new):
                refused.append(
                    f"{target.path}: already exists with other content; replace it with --force"
                )
            ctrl_c.check()
        if refused:
            raise UserError(*refused)
        ctrl_c.defer()


def _import_ffcv() -> ModuleType:
    """The module that drives FFCV; importing it takes seconds and hundreds of megabytes."""
    import torch  # noqa: F401  # FFCV does: on its own, so that its memory is released before more

    library_memory.release()
    from engine.data import ffcv_files

    library_memory.release()
    return ffcv_files


def _move_to_disk(contents: dict[str, LabelledImages], folder: Path) -> None:
    """Keep large images in files where the disk has room for them and for the `.beton` files."""
    spare = shutil.disk_usage(folder).free // 3
    for split, content in contents.items():
        with _os_errors_name(folder):
            images = disk_array.on_disk_if_large(content.images, folder, spare)
        spare -= images.nbytes
        contents[split] = dataclasses.replace(content, images=images)


def _write(
    target: Target, content: LabelledImages, partial: Path, console: Console, ffcv_files: ModuleType
) -> sidecar.Sidecar:
    show = console.progress(str(target.path))
    ffcv_files.write(partial, content.images, content.labels, show)
    size, digest = ffcv_files.verify(partial, content.images, content.labels, show)
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
        bytes=size,
        sha256=digest,
        sources=target.sources,
        versions={
            "ffcv": ffcv_files.VERSION,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def _differs(path: Path, new: sidecar.Sidecar) -> bool:
    return path.exists() and (
        path.stat().st_size != new.bytes or sidecar.digest_of(path) != new.sha256
    )


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
def _os_errors_name(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into a user error about `path`."""
    try:
        yield
    except OSError as error:
        reason = SYSTEM_ERRORS.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"{path}: {reason}; the existing files are unchanged") from None


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
