"""Where a call's images come from: CIFAR on disk or from the network, figures, or arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data import sidecar
from engine.errors import UserError
from writers import arrays, download, source, synthetic
from writers.console import Console
from writers.layouts import LAYOUTS, Layout
from writers.outputs import Content, Target, is_right
from writers.settings import SYNTHETIC, Data


@dataclass(frozen=True)
class Origin:
    """What is known before reading: enough to see whether the files lie there already."""

    dataset: str
    samples: dict[str, int]  # of each split
    sources: dict[str, str]
    load: Callable[[], dict[str, Content]]


def choose(data: Data, console: Console) -> Origin:
    """The origin that the settings ask for."""
    if data.images:
        return _from_arrays(data)
    if data.source == SYNTHETIC:
        return _from_figures(data, console)
    return _from_cifar(data, console)


def _from_cifar(data: Data, console: Console) -> Origin:
    fitting = [layout for layout in LAYOUTS if layout.dataset == data.name]
    folder = Path(data.folder)
    if data.source:
        path = Path(data.source)
    elif source.find(folder, fitting) is None:
        if (kept := _written_before(data, fitting)) is not None:
            return kept
        path = download.fetch(fitting[0], folder, console)
    else:
        path = folder
    found = source.locate(path, data.name)
    console.say(f"found {data.name}: {found.path}")
    samples = {split: _limited(found.samples(split), data.limit) for split in ("train", "test")}

    def load() -> dict[str, Content]:
        loaded = found.load()
        return {
            split: Content(images[: samples[split]], labels[: samples[split]], loaded.classes)
            for split, (images, labels) in loaded.splits.items()
        }

    return Origin(data.name, samples, found.digests, load)


def _written_before(data: Data, layouts: Sequence[Layout]) -> Origin | None:
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

    def load() -> dict[str, Content]:
        raise UserError(f"{data.folder}: the files changed while they were looked at; try again")

    return Origin(data.name, samples, sources, load)


def _from_figures(data: Data, console: Console) -> Origin:
    samples = {"train": synthetic.TRAIN, "test": synthetic.TEST}
    if data.limit:
        samples = {"train": data.limit, "test": max(1, data.limit // 5)}

    def load() -> dict[str, Content]:
        return {
            split: Content(
                *synthetic.generate(split, count, console.progress(f"drawing {split}")),
                synthetic.CLASSES,
            )
            for split, count in samples.items()
        }

    return Origin(SYNTHETIC, samples, {"writers/synthetic.py": synthetic.RECIPE}, load)


def _from_arrays(data: Data) -> Origin:
    paths = [Path(name) for name in (data.images, data.labels) if name]
    images = arrays.load_images(paths[0])
    labels_path = Path(data.labels) if data.labels else None
    labels, classes = arrays.load_labels(labels_path, len(images), data.name)
    sources = {path.name: source.digest_of(path, "sha256") for path in paths}
    count = _limited(len(images), data.limit)
    content = Content(images[:count], labels[:count], classes)
    return Origin(data.name, {data.split: count}, sources, lambda: {data.split: content})


def _limited(count: int, limit: int) -> int:
    return min(count, limit) if limit else count
