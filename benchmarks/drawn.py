"""The built-in figures as a training and a test set, for whoever has no other images."""

from __future__ import annotations

from pathlib import Path

from writers import outputs, synthetic
from writers.console import Console, CtrlC
from writers.outputs import Content, Target


def drawn(folder: Path, samples: int = synthetic.TRAIN) -> Path:
    """Write both sets, of `samples` images each; the path of the training set."""
    console = Console()
    paths = {split: folder / f"synthetic_{split}.beton" for split in ("train", "test")}
    recipe = {"writers/synthetic.py": synthetic.RECIPE}
    targets = [Target(paths[each], "synthetic", each, samples, recipe) for each in paths]

    def content(target: Target) -> Content:
        progress = console.progress("drawing")
        return Content(*synthetic.generate(target.split, samples, progress), synthetic.CLASSES)

    with CtrlC() as ctrl_c:
        outputs.write(targets, content, False, console, ctrl_c)
    return paths["train"]
