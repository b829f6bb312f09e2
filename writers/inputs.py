"""Where a call's images come from: CIFAR on disk or from the network, figures, or arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data import sidecar
from engine.errors import UserError
from writers import cifar_files, download, npy_files, synthetic
from writers.cifar_layouts import LAYOUTS, Layout
from writers.console import Console
from writers.outputs import LabelledImages, Target, is_right
from writers.settings import SYNTHETIC, Data


@dataclass(frozen=True)
class Input:
    """What is known before reading: enough to see whether the files lie there already."""

    dataset: str
    samples: dict[str, int]  # of each split
    sources: dict[str, str]
    load: Callable[[], dict[str, LabelledImages]]


def choose(data: Data, console: Console) -> Input:
    """The origin that the settings ask for."""
    if data.images:
        return _from_arrays(data)
    if data.source == SYNTHETIC:
        return _from_figures(data, console)
    return _from_cifar(data, console)


def _from_cifar(data: Data, console: Console) -> Input:
    fitting = [layout for layout in LAYOUTS if layout.dataset == data.name]
    folder = Path(data.folder)
    if data.source:
        path = Path(data.source)
    elif cifar_files.find(folder, fitting) is None:
        if (kept := _written_before(data, fitting)) is not None:
            return kept
        path = download.fetch(fitting[0], folder, console)
    else:
        path = folder
    found = cifar_files.locate(path, data.name)
    console.say(f"found {data.name}: {found.path}")
    samples = {split: _limited(found.samples(split), data.limit) for split in ("train", "test")}

    def load() -> dict[str, LabelledImages]:
        loaded = found.load()
        return {
            split: LabelledImages(
                images[: samples[split]], labels[: samples[split]], loaded.classes
            )
            for split, (images, labels) in loaded.splits.items()
        }

    return Input(data.name, samples, found.digests, load)


def _written_before(data: Data, layouts: Sequence[Layout]) -> Input | None:
    """The files that lie there, where they are right and of published sources since removed."""
    published = {digest for layout in layouts for digest in layout.files.values()}
    published |= {layout.archive_digest for layout in layouts}
    samples, sources = {}, {}
    for split in ("train", "test"):
        count = layouts[0].samples(split)
        path = Path(data.folder) / f"{data.name}_{split}.beton"
        known = sidecar.read(path) if path.is_file() else None
        samples[split] = _limited(count, data.limit)
        if known is None or not published.issuperset(known.sources.values()):
            return None
        sources = known.sources
        if not is_right(Target(path, data.name, split, samples[split], sources)):
            return None

    def load() -> dict[str, LabelledImages]:
        raise UserError(f"{data.folder}: the files changed while they were looked at; try again")

    return Input(data.name, samples, sources, load)


def _from_figures(data: Data, console: Console) -> Input:
    samples = {"train": synthetic.TRAIN, "test": synthetic.TEST}
    if data.limit:
        samples = {"train": data.limit, "test": max(1, data.limit // 5)}

    def load() -> dict[str, LabelledImages]:
        return {
            split: LabelledImages(
                *synthetic.generate(split, count, console.progress(f"drawing {split}")),
                synthetic.CLASSES,
            )
            for split, count in samples.items()
        }

    return Input(SYNTHETIC, samples, {"writers/synthetic.py": synthetic.RECIPE}, load)


def _from_arrays(data: Data) -> Input:
    paths = [Path(name) for name in (data.images, data.labels) if name]
    images = npy_files.load_images(paths[0])
    labels_path = Path(data.labels) if data.labels else None
    labels, classes = npy_files.load_labels(labels_path, len(images), data.name)
    sources = {path.name: cifar_files.digest_of(path, "sha256") for path in paths}
    count = _limited(len(images), data.limit)
    content = LabelledImages(images[:count], labels[:count], classes)
    return Input(data.name, {data.split: count}, sources, lambda: {data.split: content})


def _limited(count: int, limit: int) -> int:
    return min(count, limit) if limit else count
