"""The settings of a training run's length, and of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import option


@dataclass(frozen=True)
class Train:
    """Length, batch size and seed of training."""

    epochs: float = option(
        200,
        "passes over the training set; the last may be a part of one",
        low=0.0,
        above=True,
        high=100_000,
    )
    batch_size: int = option(128, "images per step", low=2, high=65536)
    seed: int = option(0, "seed of everything random", low=0, high=2**63 - 1)
    drop_last: bool = option(False, "leave out the last batch of an epoch where it is short")
    label_smoothing: float = option(
        0.0,
        "label smoothing: the share of the target spread over all classes",
        low=0.0,
        high=1.0,
        below=True,
    )
    freeze_layers: int = option(
        0, "the stem and the first N layers are frozen from train.freeze_from on", low=0, high=1000
    )
    freeze_from: float = option(
        1.0,
        "the share of the run's steps after which layers are frozen",
        low=0.0,
        above=True,
        high=1.0,
    )
    tta: str = option(
        "none",
        "also evaluate the final weights with test-time augmentation. flip: mean of each image and "
        "its mirror image; six: these two, and both shifted by one pixel in two directions with "
        "half the weight; the result stays that of the single view",
        choices=("none", "flip", "six"),
    )
    evaluate_every: int = option(1, "evaluate after every N epochs, and after the last", low=1)
    evaluate_batch_size: int = option(512, "images per batch of evaluation", low=1, high=65536)

    def __post_init__(self) -> None:
        """Whole epochs are a whole number, so that files and messages show 200, not 200.0."""
        if self.epochs == int(self.epochs):
            object.__setattr__(self, "epochs", int(self.epochs))


@dataclass(frozen=True)
class Checkpoint:
    """When checkpoints are saved; a stop by a signal always saves one."""

    every_epochs: int = option(1, "epochs between checkpoints; 0: only after the last", low=0)
    every_steps: int = option(0, "steps between checkpoints within an epoch; 0: none", low=0)
    seconds_apart: float | str = option(
        "auto",
        "least seconds from one checkpoint to the next; one that is due sooner is left out, but "
        "for the last. auto: 30 on a GPU, whose epochs may be shorter than a disk's writes, else 0",
        words=("auto",),
        low=0.0,
    )
    keep: int = option(2, "number of newest checkpoints to keep", low=1)
    best: bool = option(
        False,
        "also keep the weights of the epoch with the best accuracy on held-out validation images "
        "(data.validation); the result stays that of the last epoch",
    )
