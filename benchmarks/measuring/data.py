"""The built-in figures as a training and a test set, for whoever has no other images."""

from __future__ import annotations

from pathlib import Path

from writers import outputs, synthetic
from writers.console import Console, CtrlC
from writers.outputs import LabelledImages, Target


def drawn(folder: Path, samples: int = synthetic.TRAIN) -> Path:
    """Write both sets, of `samples` images each; the path of the training set."""
    console = Console()
    paths = {split: folder / f"synthetic_{split}.beton" for split in ("train", "test")}
    recipe = {"writers/synthetic.py": synthetic.RECIPE}
    targets = [Target(paths[each], "synthetic", each, samples, recipe) for each in paths]

    contents = {
        each: LabelledImages(
            *synthetic.generate(each, samples, console.progress("drawing")), synthetic.CLASSES
        )
        for each in paths
    }
    with CtrlC() as ctrl_c:
        outputs.write(targets, contents, False, console, ctrl_c)
    return paths["train"]
