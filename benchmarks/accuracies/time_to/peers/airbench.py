"""`airbench94_muon.py` of cifar10-airbench, from the user's checkout, as it is but for a port.

On a GPU only the number of epochs is opened and the script's own figures are noted. On a CPU the
images and the network are on the CPU, weights stay float32 and the network runs under autocast
to bfloat16 (half precision has no units there, and bfloat16 weights would swallow late updates),
the logits are float32 for the loss, CUDA's events are the host's clock, and nothing is compiled.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.accuracies.time_to import counting
from benchmarks.accuracies.time_to.peers import Outcome, Task, View, foreign
from benchmarks.accuracies.time_to.peers.foreign import Change, Script
from engine.data.beton import open_beton
from engine.step.device import has_bf16_units

SCRIPT = Script(
    "KellerJordan/cifar10-airbench",
    "airbench94_muon.py",
    "f1c599c4af24aca803e3e65a6a7e52a502e09d0e",
    "704e29251a5207d8aed8a35adf13f772ff386b90a712aaddc2a28854385b536e",
)
PUBLISHED = 8.0  # epochs
WARM_UP = 0.08  # epochs, two steps; the whole run on a GPU, as the script does itself
EPOCHS = Change(
    "other lengths", "main", "ceil(8 * len(train_loader))", "ceil(EPOCHS * len(train_loader))"
)
FOR_A_CPU = (
    Change("images on the CPU", "CifarLoader", "torch.device('cuda')", "torch.device('cpu')"),
    Change("float32 weights", "CifarNet", "mod.half()", "mod.float()"),
)
VIEWS = {0: "single", 2: "six"}  # by the script's tta_level


def run(task: Task) -> Outcome:
    """Train it once, after a warm-up of the same process."""
    checkout, device = Path(task.checkout), torch.device(task.device)
    on_cpu = device.type == "cpu"
    changes = (EPOCHS, *(FOR_A_CPU if on_cpu else ()))
    epochs = task.epochs or PUBLISHED
    script = foreign.load(checkout, SCRIPT, changes, EPOCHS=epochs)
    bf16 = on_cpu and has_bf16_units(device)
    precision = "fp16" if not on_cpu else "bf16" if bf16 else "fp32"
    how = "eager, float32 weights" if on_cpu else "compiled with max-autotune, half weights"
    network = script.CifarNet()
    training = counting.training(network.float())
    outcome = Outcome(f"{precision}, channels_last, {how}", precision, 0, 0)
    outcome.params = counting.parameters(network)
    outcome.facts = foreign.facts(checkout, SCRIPT, changes)
    notes = _Notes(script, outcome, training)
    images = len(open_beton(task.test, verify=False))
    with _data(task), _clock(on_cpu):
        model = script.CifarNet().to(device, memory_format=torch.channels_last)
        if on_cpu:
            model.forward = _autocast(model.forward, enabled=bf16)
        else:
            model.compile(mode="max-autotune")
        notes.enabled = False
        script.EPOCHS = WARM_UP if on_cpu else epochs
        script.main("warmup", model)
        notes.enabled, script.EPOCHS = True, epochs
        torch.manual_seed(task.seed)
        script.main(task.seed, model)
        outcome.views = {
            VIEWS[level]: View(accuracy, seconds, _views_of(script, level) * images * 1e-15)
            for level, (accuracy, seconds) in notes.evaluations.items()
        }
    outcome.epochs, outcome.seconds = epochs, notes.seconds
    return outcome


class _Notes:
    """Takes the place of two functions of the script: what it would print, and its evaluation."""

    def __init__(self, script: Any, outcome: Outcome, flops: int) -> None:
        self.enabled = True
        self.seconds = 0.0
        self.evaluations: dict[int, tuple[float, float]] = {}  # by level: accuracy, seconds
        self._outcome, self._flops, self._evaluate = outcome, flops, script.evaluate
        script.print_training_details, script.evaluate = self.details, self.evaluate

    def details(self, variables: dict[str, Any], is_final_entry: bool) -> None:
        """The script's own figures after an epoch."""
        if not self.enabled or is_final_entry:
            return
        outcome = self._outcome
        outcome.batch_size, outcome.steps = int(variables["batch_size"]), int(variables["step"])
        outcome.images = outcome.steps * outcome.batch_size
        outcome.petaflops = outcome.images * self._flops * 1e-15
        self.seconds = float(variables["time_seconds"])
        outcome.point(
            int(variables["epoch"]) + 1, self.seconds, outcome.petaflops, variables["val_acc"]
        )

    def evaluate(self, model: Any, loader: Any, tta_level: int = 0) -> float:
        """The script's own evaluation, timed; none in the warm-up."""
        if not self.enabled:
            return 0.0
        began = time.perf_counter()
        accuracy = float(self._evaluate(model, loader, tta_level))  # reads it from the device
        self.evaluations[tta_level] = accuracy, time.perf_counter() - began
        return accuracy


def _autocast(forward: Callable[..., Tensor], *, enabled: bool) -> Callable[..., Tensor]:
    """The network under autocast, its logits float32."""

    def call(*args: Any, **options: Any) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = forward(*args, **options)
        return logits.float()

    return call


def _views_of(script: Any, level: int) -> int:
    """FLOPs of an image's evaluation at a level, counted in the script's own."""
    network = script.CifarNet().float()
    loader = SimpleNamespace(normalize=lambda x: x, images=torch.zeros(counting.IMAGES, 3, 32, 32))
    return counting.flops(lambda: script.infer(network, loader, level)) // counting.IMAGES


@contextmanager
def _data(task: Task) -> Iterator[None]:
    """A folder where the script finds the data as it would have saved it."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="airbench-") as folder:
        (Path(folder) / "cifar10").mkdir()
        for name, path in (("train", Path(task.train)), ("test", task.test)):
            beton = open_beton(path)
            content = {
                "images": torch.from_numpy(beton.images()),
                "labels": torch.from_numpy(beton.labels.copy()),
                "classes": [str(number) for number in range(beton.classes)],
            }
            torch.save(content, Path(folder) / "cifar10" / f"{name}.pt")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


@contextmanager
def _clock(on_cpu: bool) -> Iterator[None]:
    """The host's clock in the place of CUDA's events."""
    if not on_cpu:
        yield
        return
    with (
        patch.object(torch.cuda, "Event", _HostEvent),
        patch.object(torch.cuda, "synchronize", lambda: None),
    ):
        yield


class _HostEvent:
    """A moment of the host's clock, with the methods of a CUDA event."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, end: _HostEvent) -> float:
        return 1000 * (end._at - self._at)
