"""The losses of the first 30 steps of a small network, the same on every CPU.

Everything is computed in float64 and rounded to float32: how a CPU orders its sums changes the last
bits of a float64, and in 30 steps that never reaches the bits that float32 keeps. So the comparison
is exact, and the kernels are the same as in normal use.

To write the traces again, after a change that is meant to change them:
`python -m tests.support.golden_trace`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine.config.schema import Augment, Config, Model, Optim, Schedule, Train
from engine.data.beton import open_beton
from engine.data.counter import Purpose, derive
from engine.data.loader import REPORTS_STD, Batch, Loader
from engine.data.sets import effects_of
from engine.model import ResNet, initialise, resolve, whiten
from engine.model.whitening import IMAGES
from engine.optim.schedules import rates
from engine.optim.stages import stage, steps_of
from engine.step.device import Machine
from engine.step.mixing import mixes, mixing
from engine.step.totals import loss_of
from engine.step.training import TrainingStep

FOLDER = Path(__file__).resolve().parent.parent / "golden"
STEPS = 30
LENGTH = Train(epochs=6, batch_size=16, seed=3)
SGD = Optim("sgd", 0.1, 0.9, nesterov=True)
RECIPES = {  # cutout comes with all
    "sgd": Config(optim=replace(SGD, clip_norm=2.0), schedule=Schedule("onecycle")),
    "adam": Config(
        optim=Optim("adam", 0.01, weight_decay=1e-4, clip_value=0.1), schedule=Schedule("cosine")
    ),
    "lookahead": Config(
        optim=Optim("sgd", 0.1, 0.9, lookahead_k=5),
        schedule=Schedule("cyclic", minimum=0.01, rise=2),
    ),
    "muon": Config(
        train=replace(LENGTH, label_smoothing=0.2),
        optim=Optim(
            "muon",
            0.1,
            0.6,
            nesterov=True,
            norm_lr=0.3,
            head_lr=0.2,
            head_weight_decay=0.01,
            rest_weight_decay=0.0,
            lookahead_k=5,
            lookahead_alpha=0.3,
            lookahead_start="k",
            lookahead_power=3.0,
            lookahead_buffers=True,
        ),
        schedule=Schedule("linear", minimum=0.01),
    ),
    "adamw": Config(
        optim=Optim(
            "adamw",
            0.02,
            weight_decay=0.1,
            decay_biases=False,
            head_lr=0.01,
            ema_decay=0.8,
            ema_every=2,
            ema_start=0.5,
        ),
        schedule=Schedule("trapezoid", warmup=1, warmup_start=0.1, decay=2),
    ),
    "stages": Config(
        augment=Augment(sizes=(16, 24), sizes_until=(0.3, 0.7)),
        train=replace(LENGTH, epochs=8, freeze_layers=1, freeze_from=0.8, drop_last=True),
        optim=SGD,
    ),
    "mixed": Config(augment=Augment(mixup=0.5, cutmix=1.0), optim=SGD),
    "effects": Config(
        augment=Augment(
            brightness=0.2, contrast=0.3, saturation=0.4, erasing=0.5, cutout_fill="mean"
        ),
        optim=SGD,
    ),
    "house": Config(
        model=Model("house94", (1, 1), (4,), init="dirac", classifier_std=1.0, logit_scale=0.25),
        optim=SGD,
    ),
}
PLAIN = Model(blocks=(1, 1), widths=(4,), se="block", se_reduction=2)  # where none is given


def trace(name: str, path: Path) -> list[float]:
    """The training loss of each step over the `.beton` file `path`.

    With a moving average the last is the loss of the averaged weights over the same batch.
    """
    config = RECIPES[name]
    if config.train == Train():
        config = replace(config, train=LENGTH)
    model = PLAIN if config.model == Model() else config.model
    augment, seed = config.augment, config.train.seed
    machine = Machine(torch.device("cpu"), "fp32", False)
    torch.manual_seed(derive(seed, Purpose.INIT))
    torch.set_default_dtype(torch.float64)  # float32 weights differ in a bit where there is no FMA
    try:
        network = ResNet(resolve(model), classes=4)
    finally:
        torch.set_default_dtype(torch.float32)
    initialise(network, model, torch.Generator())
    with Loader(path, 64) as loader:
        whiten(network, loader.pixels(IMAGES), REPORTS_STD)
    losses: list[float] = []
    effects = effects_of(augment, open_beton(path, verify=False))
    size, drop_last = config.train.batch_size, config.train.drop_last
    with Loader(path, size, seed=seed, cutout=4, effects=effects, drop_last=drop_last) as loader:
        step = TrainingStep(
            network,
            config.optim,
            machine,
            smoothing=config.train.label_smoothing,
            steps=steps_of(config, len(loader)),
        )
        for epoch in range(int(config.train.epochs)):
            for images, labels in loader.epoch(epoch):
                number = len(losses)
                step(
                    Batch(images.double(), labels),
                    rates(config, number, len(loader)),
                    number,
                    stage(config, number, len(loader)),
                    mixing(augment, seed, number, images.shape[2]) if mixes(augment) else None,
                )
                losses.append(float(np.float32(step.totals.read().loss)))
                step.totals.reset()
                if len(losses) == STEPS:
                    if config.optim.ema_decay:
                        with step.averaged():
                            loss = loss_of(network.eval()(images.double()), labels).item()
                        losses[-1] = float(np.float32(loss))
                    return losses
    raise AssertionError("too few steps")


def main(argv: list[str]) -> None:
    """Print the named traces over the file `argv[0]`; else write those that tests compare with."""
    if argv:
        print(json.dumps({name: trace(name, Path(argv[0])) for name in argv[1:]}))
        return
    from tests.support.data import TRAIN_IMAGES, coloured, write_beton

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "few_train.beton"
        write_beton(path, *coloured(TRAIN_IMAGES, seed=1), split="train")
        for name in RECIPES:
            losses = trace(name, path)
            (FOLDER / f"{name}.json").write_text(json.dumps(losses, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
