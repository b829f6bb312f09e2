"""FFCV's own CIFAR example from the user's checkout: its network, loader, recipe and loop.

On a GPU only the progress bars are gone. On a CPU batches and network are there, autocast is to
bfloat16 without a loss scale; the recipe is `default_config.yaml` beside the script, with this
machine's data and threads. Compiling its loader is a warm-up, and not counted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.accuracies.time_to import counting
from benchmarks.accuracies.time_to.peers import (
    Outcome,
    Stopwatch,
    Task,
    View,
    foreign,
    is_evaluated,
)
from benchmarks.accuracies.time_to.peers.foreign import Change, Script
from benchmarks.measuring.machine import set_threads
from engine.errors import RunFailed
from engine.step.device import has_bf16_units

SCRIPT = Script(
    "libffcv/ffcv",
    "examples/cifar/train_cifar.py",
    "3a12966b3afe3a81733a732e633317d747bfaac7",
    "8c60fc460b0ccbeccc4c1d11036935519865eac51730c3c5dedf7a796d09e492",
)
RECIPE = Script(
    SCRIPT.repository,
    "examples/cifar/default_config.yaml",
    SCRIPT.commit,
    "64d4abd2df7dec230f6c14031251b7062cb4f80846e9f5d74da65c06a6ac493c",
)
FOR_A_CPU = (
    Change("batches", "make_dataloaders", "ch.device('cuda:0')", "ch.device('cpu')", times=2),
    Change(
        "network",
        "construct_model",
        "model.to(memory_format=ch.channels_last).cuda()",
        "model.to(memory_format=ch.channels_last)",
    ),
)
WARM_UP_STEPS = 3


def run(task: Task) -> Outcome:
    """Train it once, after a warm-up of the same process."""
    checkout, on_cpu = Path(task.checkout), task.device == "cpu"
    changes = FOR_A_CPU if on_cpu else ()
    script = _script(checkout, changes)
    precision = _precision(script, on_cpu)
    settings = _configure(script, checkout, task)
    network = script.construct_model().cpu()
    outcome = Outcome(
        f"{precision} autocast, channels_last",
        precision,
        settings["batch_size"],
        counting.parameters(network),
        epochs=float(settings["epochs"]),
        facts=foreign.facts(checkout, SCRIPT, changes) | {"recipe": settings},
    )
    torch.manual_seed(task.seed)
    loaders, _ = script.make_dataloaders()
    warm_up = _Epochs(loaders["train"], task.threads, lambda epoch, images: None, WARM_UP_STEPS)
    script.train(script.construct_model(), {"train": warm_up}, epochs=1, lr_peak_epoch=1)
    flops = counting.forward(network), counting.training(network)
    _train(task, script, loaders, outcome, flops)
    return outcome


def _train(
    task: Task, script: Any, loaders: dict[str, Any], outcome: Outcome, flops: tuple[int, int]
) -> None:
    forward, training = flops
    watch = Stopwatch((lambda: None) if task.device == "cpu" else torch.cuda.synchronize)
    model = script.construct_model()

    def after(epoch: int, images: int) -> None:
        outcome.images += images
        outcome.steps += images // outcome.batch_size
        outcome.petaflops = 1e-15 * training * outcome.images
        if is_evaluated(epoch, outcome.epochs):
            with watch.paused():
                outcome.views = _evaluated(script, model, loaders["test"], forward, task.threads)
                accuracy = outcome.views["single"].accuracy
                outcome.point(epoch, watch.seconds, outcome.petaflops, accuracy)

    script.train(model, {"train": _Epochs(loaders["train"], task.threads, after)})
    outcome.seconds = watch.seconds


class _Epochs:
    """A loader whose epochs are followed by a call; with `most`, of so many batches."""

    def __init__(
        self, loader: Any, threads: int, after: Callable[[int, int], None], most: int = 0
    ) -> None:
        self._loader, self._threads, self._after = loader, threads, after
        self._most, self._epoch = most or len(loader), 0

    def __len__(self) -> int:
        return min(self._most, len(self._loader))

    def __iter__(self) -> Iterator[Any]:
        images, batches = 0, _batches(self._loader, self._threads)
        for _, batch in zip(range(len(self)), batches, strict=False):
            images += len(batch[1])
            yield batch
        batches.close()
        self._epoch += 1
        self._after(self._epoch, images)


def _batches(loader: Any, threads: int) -> Generator[Any, None, None]:
    """An epoch of FFCV's loader, which sets the threads of the process: they are set again."""
    iterator = iter(loader)
    set_threads(threads)
    try:
        yield from iterator
    finally:
        iterator.close()


@torch.no_grad()
def _evaluated(script: Any, model: Any, loader: Any, forward: int, threads: int) -> dict[str, View]:
    """A single view, and the sum of an image's and its mirror image's as the example has it."""
    model.eval()
    views = {}
    for name, count in (("single", 1), ("flip", 2)):
        correct, images, began = 0, 0, time.perf_counter()
        for pixels, labels in _batches(loader, threads):
            with script.autocast():
                logits = model(pixels)
                if count == 2:
                    logits += model(pixels.flip(-1))
            correct += int((logits.argmax(1) == labels).sum())
            images += len(labels)
        seconds = time.perf_counter() - began
        views[name] = View(correct / images, seconds, 1e-15 * forward * count * images)
    model.train()
    return views


def _script(checkout: Path, changes: tuple[Change, ...]) -> Any:
    try:
        script = foreign.load(checkout, SCRIPT, changes)
    except ImportError as error:
        raise RunFailed(f"FFCV's example needs a package that is not here: {error}") from None
    script.tqdm = lambda batches: batches
    return script


def _precision(script: Any, on_cpu: bool) -> str:
    """Its mixed precision; on a CPU bfloat16 where there are units for it, without a scale."""
    if not on_cpu:
        return "fp16"
    bf16 = has_bf16_units(torch.device("cpu"))
    script.autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    script.GradScaler = lambda: torch.amp.grad_scaler.GradScaler("cpu", enabled=False)
    return "bf16" if bf16 else "fp32"


def _configure(script: Any, checkout: Path, task: Task) -> dict[str, Any]:
    """Set the recipe for this data and machine; its settings of training."""
    settings: dict[str, Any] = yaml.safe_load(foreign.read(checkout, RECIPE))["training"]
    epochs = int(task.epochs or settings["epochs"])
    settings |= {"num_workers": task.threads, "epochs": epochs}
    settings["lr_peak_epoch"] = min(settings["lr_peak_epoch"], epochs)
    where = {"train_dataset": task.train, "val_dataset": str(task.test)}
    with contextlib.redirect_stdout(None):
        script.get_current_config().collect({"training": settings, "data": where})
    return settings
