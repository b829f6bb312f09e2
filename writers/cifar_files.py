"""The published files of CIFAR, checked against the published digests and read as arrays.

`locate` looks at what is at a path and computes its digests; `Source.load` reads it. Every file
that is used is checked, also those in an archive that was packed again.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.data.sidecar import digest_of
from engine.errors import UserError
from engine.escaping import escaped
from writers import archive, unpickle
from writers.cifar_layouts import LAYOUTS, PIXELS, SIDE, Layout
from writers.outputs import LabelledImages


@dataclass(frozen=True)
class Source:
    """A data set on disk: a folder of batches, or an archive of them."""

    path: Path
    layouts: tuple[Layout, ...]  # one for a folder; which one an archive has is known as it is read
    digests: dict[str, str]  # of each file of the folder, or of the archive

    @property
    def dataset(self) -> str:
        """cifar10 or cifar100."""
        return self.layouts[0].dataset

    def samples(self, split: str) -> int:
        """How many images the split has."""
        return self.layouts[0].samples(split)

    def load(self) -> dict[str, LabelledImages]:
        """Read and check all files; images N H W C in uint8, by split."""
        if self.path.is_dir():
            batches = _Batches(self.layouts[0], self.path)
            for name in self.layouts[0].files:
                batches.take(name, (self.path / name).read_bytes())
            return batches.finish()
        return self._load_archive()

    def _load_archive(self) -> dict[str, LabelledImages]:
        [digest] = self.digests.values()
        published = {layout.archive_digest: layout for layout in self.layouts}.get(digest)
        candidates = {file: layout for layout in self.layouts for file in layout.files}
        batches: _Batches | None = None

        def wanted(file: str) -> int | None:
            layout = batches.layout if batches else candidates.get(file)
            return layout.most_bytes(file) if layout and file in layout.files else None

        total = max(sum(map(layout.most_bytes, layout.files)) for layout in self.layouts)
        for file, content in archive.members(self.path, wanted, total):
            if batches is None:
                layout = candidates[file]
                batches = _Batches(layout, self.path)
                if published is None and not layout.known:
                    raise UserError(
                        f"{self.path}: not the published archive ({digest}, published "
                        f"{layout.archive_digest}); download it again"
                    )
            batches.take(file, content)
        if batches is None:
            raise UserError(
                f"{self.path}: contains no file of {self.dataset}; expected "
                + " or ".join(sorted(layout.archive for layout in self.layouts))
            )
        return batches.finish()


def locate(path: Path, dataset: str, layouts: Sequence[Layout] = LAYOUTS) -> Source:
    """The data set at `path`: a folder of batches, the parent of one, or an archive."""
    fitting = tuple(layout for layout in layouts if layout.dataset == dataset)
    kind = _kind(path)
    if kind == "file":
        if not path.stat().st_size:
            raise UserError(f"{path}: empty; expected an archive of {dataset}")
        return Source(path, fitting, {path.name: f"md5:{digest_of(path, 'md5')}"})
    if kind != "folder":
        raise UserError(f"{path}: {kind}; expected a folder or an archive of {dataset}")
    match = find(path, fitting)
    if match is None:
        others = [other for other in layouts if other.dataset != dataset]
        raise UserError(
            f"{path}: no {dataset} in this folder; looked for "
            + ", ".join(name for layout in fitting for name in (layout.folder, layout.archive))
            + (f"; add --data.name {others[0].dataset}" if find(path, others) else "")
        )
    where, layout = match
    if layout is None:
        return locate(where, dataset, layouts)
    return Source(where, (layout,), _folder_digests(where, layout))


def find(folder: Path, layouts: Sequence[Layout]) -> tuple[Path, Layout | None] | None:
    """The first published form in `folder`: its path and layout; no layout for an archive."""
    for layout in layouts:
        if all((folder / name).exists() for name in layout.files):
            return folder, layout
    for layout in layouts:
        if (folder / layout.folder).exists():
            return folder / layout.folder, layout
        if (folder / layout.archive).exists():
            return folder / layout.archive, None
    if folder.name in {layout.folder for layout in layouts}:  # incomplete: named later
        return folder, next(layout for layout in layouts if layout.folder == folder.name)
    return None


def _folder_digests(folder: Path, layout: Layout) -> dict[str, str]:
    problems = []
    digests = {}
    for name, published in layout.files.items():
        path = folder / name
        kind = _kind(path)
        if kind != "file":
            problems.append(f"{path}: {kind}; expected a file of {layout.dataset}")
        elif path.stat().st_size > layout.most_bytes(name):
            problems.append(
                f"{path}: {path.stat().st_size:,} bytes; expected at most "
                f"{layout.most_bytes(name):,}, as published"
            )
        else:
            algorithm = published.partition(":")[0] or "sha256"
            digests[name] = f"{algorithm}:{digest_of(path, algorithm)}"
            if published and digests[name] != published:
                problems.append(_mismatch(path, digests[name], published))
    if problems:
        raise UserError(*problems)
    return digests


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "no such file or folder"
    except (OSError, ValueError) as error:
        return str(error)
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "neither a file nor a folder"


def _mismatch(where: Path | str, digest: str, published: str) -> str:
    return f"{where}: damaged or changed: digest {digest}, published {published}"


class _Batches:
    """The arrays of one data set, filled from its files in any order."""

    def __init__(self, layout: Layout, path: Path) -> None:
        self.layout, self.path = layout, path
        self.classes: tuple[str, ...] = ()
        self.missing = list(layout.files)
        self.splits: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for split, names in (("train", layout.train), ("test", layout.test)):
            count = sum(map(layout.records_of, names))
            images = np.empty((count, SIDE, SIDE, 3), np.uint8)
            self.splits[split] = images, np.empty(count, np.int64)

    def take(self, name: str, content: bytes) -> None:
        """Check one file and copy its content into the arrays."""
        where = f"{self.path}: {name}" if self.path.is_file() else str(self.path / name)
        published = self.layout.files[name]
        if published:
            algorithm = published.partition(":")[0]
            digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
            if digest != published:
                raise UserError(_mismatch(where, digest, published))
        self.missing.remove(name)
        try:
            if name in self.layout.meta:
                self.classes = self._names(content)
            else:
                self._place(name, *self._parse(name, content))
        except ValueError as error:
            raise UserError(f"{where}: not a file of {self.layout.dataset}: {error}") from None

    def finish(self) -> dict[str, LabelledImages]:
        """The whole data set; missing files are an error."""
        if self.missing:
            raise UserError(f"{self.path}: no {', '.join(self.missing)} in it")
        return {
            split: LabelledImages(*arrays, self.classes) for split, arrays in self.splits.items()
        }

    def _names(self, content: bytes) -> tuple[str, ...]:
        if self.layout.meta_key:
            names = unpickle.load(content).get(self.layout.meta_key.encode())
            if not isinstance(names, list):
                raise ValueError(f"no list {self.layout.meta_key}")
            lines = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
        else:
            lines = [line.strip() for line in content.decode("ascii").splitlines()]
        lines = [line for line in lines if line]
        if any(escaped(line) != line for line in lines):
            raise ValueError("a class name with control characters")
        if len(set(lines)) != self.layout.class_count or len(lines) != len(set(lines)):
            raise ValueError(f"{len(set(lines))} class names, expected {self.layout.class_count}")
        return tuple(lines)

    def _parse(self, name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        if self.layout.label_bytes:
            width = self.layout.label_bytes + PIXELS
            if len(content) != self.layout.records_of(name) * width:
                raise ValueError(
                    f"{len(content):,} bytes, expected {self.layout.records_of(name):,} records "
                    f"of {width:,}"
                )
            records = np.frombuffer(content, np.uint8).reshape(-1, width)
            labels = records[:, self.layout.label_bytes - 1].astype(np.int64)
            return records[:, self.layout.label_bytes :], labels
        batch = unpickle.load(content)
        pixels, labels_list = batch.get(b"data"), batch.get(self.layout.label_key.encode())
        if not isinstance(pixels, np.ndarray) or not isinstance(labels_list, list):
            raise ValueError(f"no data or no {self.layout.label_key}")
        if not all(type(label) is int and abs(label) < 1 << 31 for label in labels_list):
            raise ValueError("labels that are not integers")
        if pixels.shape != (self.layout.records_of(name), PIXELS):
            raise ValueError(f"images of shape {pixels.shape}")
        return pixels, np.array(labels_list, np.int64)

    def _place(self, name: str, pixels: np.ndarray, labels: np.ndarray) -> None:
        split, names = "train", list(self.layout.train)
        if name in self.layout.test:
            split, names = "test", list(self.layout.test)
        if len(labels) != len(pixels):
            raise ValueError(f"{len(labels):,} labels for {len(pixels):,} images")
        wrong = np.flatnonzero((labels < 0) | (labels >= self.layout.class_count))
        if len(wrong):
            raise ValueError(
                f"label {labels[wrong[0]]} of image {wrong[0]:,}, expected 0 to "
                f"{self.layout.class_count - 1}"
            )
        start = sum(map(self.layout.records_of, names[: names.index(name)]))
        place = slice(start, start + len(labels))
        images, all_labels = self.splits[split]
        images[place] = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        all_labels[place] = labels
