"""Where images come from: CIFAR on disk or from the network, the synthetic set, `.npy` files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data import sidecar
from engine.errors import UserError
from engine.escaping import escaped
from writers import cifar_files, download, npy_files, outputs, synthetic
from writers.cifar_layouts import LAYOUTS, Layout
from writers.console import Console, CtrlC
from writers.outputs import LabelledImages, Target
from writers.settings import SYNTHETIC, Data


@dataclass(frozen=True)
class Input:
    """A data set to write: enough to recognise files written from it, without reading it."""

    dataset: str
    samples: dict[str, int]  # of each split
    sources: dict[str, str]
    load: Callable[[], dict[str, LabelledImages]]

    def targets(self, folder: Path) -> list[Target]:
        """The files in `folder` that this input is written to."""
        return [
            Target(
                folder / f"{self.dataset}_{split}.beton", self.dataset, split, samples, self.sources
            )
            for split, samples in self.samples.items()
        ]


def choose(data: Data, console: Console) -> Input:
    """The input that the settings select."""
    if data.images:
        return _npy_input(data)
    if data.source != SYNTHETIC:
        return _cifar_input(data, console)
    samples = {"train": synthetic.TRAIN, "test": synthetic.TEST}
    if data.limit:
        samples = {"train": data.limit, "test": max(1, data.limit // 5)}
    return _synthetic_input(samples, console)


def write_synthetic(folder: Path, samples: Mapping[str, int]) -> dict[str, Path]:
    """Write splits of the synthetic set into `folder`, of so many images each; their paths."""
    return _write(_synthetic_input(samples, Console()), folder)


def write_cifar10(folder: Path, source: Path) -> dict[str, Path]:
    """Write both splits of CIFAR-10 into `folder` from a folder or archive of it; their paths."""
    return _write(_cifar_input(Data(source=str(source)), Console()), folder)


def _write(chosen: Input, folder: Path) -> dict[str, Path]:
    targets = chosen.targets(folder)
    with CtrlC() as ctrl_c:
        outputs.write(targets, chosen.load(), False, Console(), ctrl_c)
    return {target.split: target.path for target in targets}


def _cifar_input(data: Data, console: Console) -> Input:
    layouts = [layout for layout in LAYOUTS if layout.dataset == data.name]
    folder = Path(data.folder)
    if data.source:
        path = Path(data.source)
    elif cifar_files.find(folder, layouts) is None:
        if (written := _written_before(data, layouts)) is not None:
            return written
        path = download.fetch(layouts[0], folder, console)
    else:
        path = folder
    source = cifar_files.locate(path, data.name)
    console.say(f"found {data.name}: {source.path}")
    samples = {split: _limited(source.samples(split), data.limit) for split in ("train", "test")}

    def load() -> dict[str, LabelledImages]:
        return {split: each.first(samples[split]) for split, each in source.load().items()}

    return Input(data.name, samples, source.digests, load)


def _written_before(data: Data, layouts: Sequence[Layout]) -> Input | None:
    """The existing files, if they are whole and were written from published files since removed."""
    published = {digest for layout in layouts for digest in layout.files.values()}
    published |= {layout.archive_digest for layout in layouts}
    samples, sources = {}, {}
    for split in ("train", "test"):
        path = Path(data.folder) / f"{data.name}_{split}.beton"
        known = sidecar.read(path) if path.is_file() else None
        samples[split] = _limited(layouts[0].samples(split), data.limit)
        if known is None or not published.issuperset(known.sources.values()):
            return None
        sources = known.sources
        if not outputs.is_right(Target(path, data.name, split, samples[split], sources)):
            return None

    def load() -> dict[str, LabelledImages]:
        raise UserError(f"{data.folder}: the files changed while they were checked; try again")

    return Input(data.name, samples, sources, load)


def _synthetic_input(samples: Mapping[str, int], console: Console) -> Input:
    def load() -> dict[str, LabelledImages]:
        return {
            split: LabelledImages(
                *synthetic.generate(split, count, console.progress(f"generating {split}")),
                synthetic.CLASSES,
            )
            for split, count in samples.items()
        }

    sources = {"writers/synthetic.py": synthetic.VERSION}
    return Input(SYNTHETIC, dict(samples), sources, load)


def _npy_input(data: Data) -> Input:
    paths = [Path(name) for name in (data.images, data.labels) if name]
    images = npy_files.load_images(paths[0])
    labels_path = Path(data.labels) if data.labels else None
    labels, classes = npy_files.load_labels(labels_path, len(images), data.name)
    sources = {escaped(path.name): f"sha256:{sidecar.digest_of(path)}" for path in paths}
    count = _limited(len(images), data.limit)
    content = LabelledImages(images, labels, classes).first(count)
    return Input(data.name, {data.split: count}, sources, lambda: {data.split: content})


def _limited(count: int, limit: int) -> int:
    return min(count, limit) if limit else count
