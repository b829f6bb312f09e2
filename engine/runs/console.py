"""The printed lines of a run: its opening, its epochs, its result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config.schema import Config
from engine.data.sets import DataSets
from engine.optim.stages import steps_of
from engine.runs.progress import duration
from engine.runs.work import work_of
from engine.step.totals import Means
from engine.step.views import WORDS


def opening(
    say: Callable[[str], None],
    folder: Path,
    record: dict[str, Any],
    sets: DataSets,
    petaflops: float,
) -> None:
    """Print what is about to be trained, on what data and device, and where it is written."""
    evaluated = f"{sets.test.samples_of_all:,} test images"
    if sets.validated:
        evaluated = f"{sets.watched.samples_of_all:,} validation and {evaluated}"
    compiled = ", compiled" if record["compiled"] else ""
    say(
        f"{record['variant']}: {record['params']:,} parameters, "
        f"{record['flops']['training'] / 1e9:.3f} GFLOPs per image in training, "
        f"{petaflops:.3g} PFLOPs in all\n"
        f"{sets.train.samples_of_all:,} training images, {evaluated}, {len(sets.classes)} classes; "
        f"{sets.memory_bytes / 2**20:,.0f} MiB in memory\n"
        f"{record['device']}, {record['precision']}{compiled}; writing to {folder}"
    )


def epoch_line(line: dict[str, Any], epochs: float) -> str:
    """One epoch as a readable line; the last of 8.5 is `8.5/8.5`."""
    text = (
        f"epoch {min(line['epoch'], epochs):>{len(str(epochs))}}/{epochs}"
        f"  lr {line['lr']:<8.4g}"
        f"  train {loss(line['train_loss'])} {percent(line['train_accuracy'])}"
    )
    for kind in ("validation", "test"):
        if line.get(f"{kind}_accuracy") is not None:
            text += f"  {kind} {loss(line[f'{kind}_loss'])} {percent(line[f'{kind}_accuracy'])}"
    return text + f"  {line['images_per_second']:>6,.0f} images/s  {duration(line['seconds'])}"


def short_line(line: dict[str, Any]) -> str:
    """The main numbers of an epoch, for the progress bar."""
    text = f"loss {loss(line['train_loss'])}"
    for kind in ("validation", "test"):
        if line.get(f"{kind}_accuracy") is not None:
            text += f"  {kind} {percent(line[f'{kind}_accuracy'])}"
    return text


def result(folder: Path, record: dict[str, Any]) -> str:
    """The result of a finished run: the last epoch; the best epoch is only mentioned."""
    kind = "validation" if record["validation_images"] else "test"
    best, epoch = record[f"best_{kind}_accuracy"], record[f"best_{kind}_epoch"]
    note = f"; best {kind} {percent(best)} at epoch {epoch}"
    kept = record.get("best_weights")
    if kept is not None:
        note += "; the test set was read at the end only"
    elif kind == "validation":
        note += "; the test set was read once"
    elif epoch == record["epochs"]:
        note = ", which is also the best"
    else:
        note += ", chosen on the test set: not a fair result"
    speed = record["images_per_second"] or 0
    views = "".join(
        f"by {words}   {percent(record[f'test_accuracy_{tta}'])}  (test-time augmentation; the "
        "result is that of one view)\n"
        for tta, words in WORDS.items()
        if f"test_accuracy_{tta}" in record
    )
    best_weights = ""
    if kept is not None:
        best_weights = (
            f"best weights   {percent(kept['test_accuracy'])}  (of epoch {kept['epoch']}, the best "
            "on validation images)\n"
        )
    return (
        f"test accuracy  {percent(record['test_accuracy'])}  (last of {_epochs(record)} epochs"
        f"{note})\n{views}{best_weights}"
        f"time           {duration(record['seconds'])} ({speed:,.0f} images/s in training)\n"
        f"run            {folder}"
    )


def _epochs(record: dict[str, Any]) -> float:
    """As they were set, where the last is a part; a record counts it like the others."""
    epochs: float = record["config"]["train"]["epochs"]
    return epochs if epochs != int(epochs) else record["epochs"]


def next_steps(folder: Path) -> str:
    """Commands to try after a run."""
    python = Path(sys.executable)
    here = Path.cwd()
    name = str(python.relative_to(here)) if python.is_relative_to(here) else "python"
    return (
        f"try next       {name} -m engine.evaluate {folder}   (accuracy per class)\n"
        f"               {name} writers/cifar.py   (CIFAR-10 itself; then make train again)\n"
        f"               {name} -m engine.train --list   (every network of the reports)\n"
        "               make train CONFIG=configs/se_resnet443.yaml   (hours without a GPU)"
    )


def dry_run(config: Config, device: str, sets: DataSets, means: Means) -> str:
    """The result of a dry run."""
    files = "\n".join(
        f"{path}: {loader.samples_of_all:,} images, {len(sets.classes)} classes"
        for path, loader in ((config.data.train, sets.train), (config.data.test, sets.test))
    )
    work = work_of(config, sets.train.samples_of_all, classes=len(sets.classes), side=sets.side)
    in_all = f", {steps_of(config, len(sets.train)):,} in all" * (config.train.epochs % 1 > 0)
    return (
        f"{files}\n{device}: two steps, loss {loss(means.loss)}; nothing was written\n"
        f"a run would take {config.train.epochs} epochs of {len(sets.train):,} steps{in_all}: "
        f"{work.total / 1e15:.3g} PFLOPs of training"
    )


def percent(share: float) -> str:
    """A share as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def loss(value: float | None) -> str:
    """A loss with four decimals."""
    return "not finite" if value is None else f"{value:.4f}"
