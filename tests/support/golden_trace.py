"""The losses of the first 30 steps of a small network, the same on every CPU.

Everything is computed in float64 and rounded to float32: how a CPU orders its sums changes the last
bits of a float64, and in 30 steps that never reaches the bits that float32 keeps. So the comparison
is exact, and the kernels are the same as in normal use.

To write the traces again, after a change that is meant to change them:
`python -m tests.support.golden_trace`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from engine.config.schema import Config, Optim, Schedule, Train
from engine.data.counter import Purpose, derive
from engine.data.loader import Batch, Loader
from engine.model import ResNet
from engine.model.variants import Variant
from engine.optim.schedules import rates
from engine.step.device import Machine
from engine.step.training import TrainingStep

FOLDER = Path(__file__).resolve().parent.parent / "golden"
STEPS = 30
OPTIMIZERS = {
    "sgd": (Optim("sgd", 0.1, 0.9, nesterov=True, clip_norm=2.0), Schedule("onecycle")),
    "adam": (Optim("adam", 0.01, weight_decay=1e-4, clip_value=0.1), Schedule("cosine")),
    "lookahead": (Optim("sgd", 0.1, 0.9, lookahead_k=5), Schedule("cyclic", minimum=0.01, rise=2)),
}


def trace(optimizer: str, path: Path) -> list[float]:
    """The training loss of each step over the `.beton` file `path`."""
    optim, schedule = OPTIMIZERS[optimizer]
    config = dataclasses.replace(
        Config(), optim=optim, schedule=schedule, train=Train(epochs=6, batch_size=16, seed=3)
    )
    machine = Machine(torch.device("cpu"), "fp32", False)
    torch.manual_seed(derive(config.train.seed, Purpose.INIT))
    torch.set_default_dtype(torch.float64)  # float32 weights differ in a bit where there is no FMA
    try:
        network = ResNet(Variant((1, 1), (4,), se="block", se_reduction=2), classes=4)
    finally:
        torch.set_default_dtype(torch.float32)
    step = TrainingStep(network, optim, machine)
    losses: list[float] = []
    with Loader(path, config.train.batch_size, seed=config.train.seed, cutout=4) as loader:
        for epoch in range(config.train.epochs):
            for images, labels in loader.epoch(epoch):
                number = len(losses)
                step(Batch(images.double(), labels), rates(config, number, len(loader)), number)
                losses.append(float(np.float32(step.totals.read().loss)))
                step.totals.reset()
    return losses[:STEPS]


def main(argv: list[str]) -> None:
    """Print the named traces over the file `argv[0]`; else write those that tests compare with."""
    if argv:
        print(json.dumps({name: trace(name, Path(argv[0])) for name in argv[1:]}))
        return
    from tests.support.data import TRAIN_IMAGES, coloured, write_beton

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "few_train.beton"
        write_beton(path, *coloured(TRAIN_IMAGES, seed=1), split="train")
        for name in OPTIMIZERS:
            losses = trace(name, path)
            (FOLDER / f"{name}.json").write_text(json.dumps(losses, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
