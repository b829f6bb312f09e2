"""The loaders of one run: for training, for evaluation after each epoch, and for the test set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.config.schema import Augment, Config
from engine.data.beton import Beton
from engine.data.counter import Ids
from engine.data.loader import Loader
from engine.data.source import Store
from engine.data.stores import open_store
from engine.data.subsets import augment_problems, tested_ids, training_ids
from engine.data.transform import Effects
from engine.errors import UserError

NOT_NORMALISED = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and std that change nothing


@dataclass(frozen=True)
class DataSets:
    """The data of a run."""

    train: Loader
    watched: Loader  # evaluated after each epoch: the validation images, else the test set
    test: Loader
    validated: bool  # there are validation images: the test set is evaluated only at the end
    classes: tuple[str, ...]
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digests: dict[str, str]
    memory_bytes: int  # of pixels and labels as they are stored
    warnings: tuple[str, ...]


def open_sets(config: Config, device: torch.device, rank: int = 0, world_size: int = 1) -> DataSets:
    """Check both files and load them to the device; the loaders are those of one rank."""
    paths = (config.data.train, config.data.test)
    train, test = (open_store(path, device, config.data.mode) for path in paths)
    _check_pair(train.beton, test.beton)
    for store in (train, test):
        if int(store.beton.labels.min()) < 0:
            raise UserError(
                f"{store.beton.path}: holds images without a label; train on labelled files and "
                "predict such a set with: python -m engine.evaluate RUN --data FILE"
            )
    if problems := augment_problems(config.augment, min(train.beton.height, train.beton.width)):
        raise UserError(*(f"{key} {message}" for key, message in problems))
    mean, std = mean_and_std(config.augment, train.beton)
    train_ids, held_out = training_ids(config, train.beton)
    _check_shares(config, len(train_ids), world_size)
    batch = config.train.evaluate_batch_size

    def plain(store: Store, subset: Ids | None = None) -> Loader:
        return evaluation_loader(store, batch, mean, std, subset, rank, world_size)

    test_loader = plain(test, tested_ids(test.beton, config.data.limit))
    return DataSets(
        train=Loader(
            train,
            config.train.batch_size // world_size,
            seed=config.train.seed,
            crop_padding=config.augment.crop_padding,
            padding_mode=config.augment.padding_mode,
            flip=config.augment.flip,
            autoaugment=config.augment.autoaugment,
            cutout=config.augment.cutout,
            effects=effects_of(config.augment, train.beton),
            mean=mean,
            std=std,
            drop_last=config.train.drop_last,
            subset=train_ids,
            rank=rank,
            world_size=world_size,
        ),
        watched=plain(train, held_out) if len(held_out) else test_loader,
        test=test_loader,
        validated=len(held_out) > 0,
        classes=class_names(train.beton),
        side=train.beton.height,
        mean=mean,
        std=std,
        digests={"train": train.beton.sha256, "test": test.beton.sha256},
        memory_bytes=train.memory_bytes + test.memory_bytes,
        warnings=tuple(_warnings(train.beton, test.beton)),
    )


def effects_of(augment: Augment, beton: Beton) -> Effects:
    """Jitter, erasing and the colour to fill with; the mean is that of `augment.mean`."""
    fill = None
    if augment.cutout_fill == "mean":
        fill, _ = mean_and_std(replace(augment, normalize=True), beton)
    return Effects(augment.brightness, augment.contrast, augment.saturation, augment.erasing, fill)


def evaluation_loader(
    store: Store,
    batch_size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    subset: Ids | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """Every image (of this rank) once, in the order of the file, only normalised."""
    return Loader(
        store,
        batch_size,
        crop_padding=0,
        flip="none",
        shuffle=False,
        mean=mean,
        std=std,
        subset=subset,
        rank=rank,
        world_size=world_size,
    )


def class_names(beton: Beton) -> tuple[str, ...]:
    """The names of the classes; their numbers where the file has no sidecar."""
    if beton.sidecar is not None:
        return beton.sidecar.classes
    return tuple(str(i) for i in range(beton.classes))


def mean_and_std(augment: Augment, beton: Beton) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std to normalise with: as given, or those of the training file."""
    if not augment.normalize:
        return NOT_NORMALISED
    known = beton.sidecar
    if known is None and "data" in (augment.mean, augment.std):
        raise UserError(
            f"augment.mean data: {beton.path} has no sidecar to take it from; give three numbers"
        )
    mean = known.mean if known and isinstance(augment.mean, str) else augment.mean
    std = known.std if known and isinstance(augment.std, str) else augment.std
    assert not isinstance(mean, str) and not isinstance(std, str)
    if not all(std):
        raise UserError(
            f"augment.std data: {beton.path} holds a channel without any difference; give three "
            "numbers"
        )
    return tuple(mean), tuple(std)


def _check_shares(config: Config, images: int, ranks: int) -> None:
    """Refuse batches of which some rank would have no image."""
    size = config.train.batch_size
    last = 0 if config.train.drop_last else images % size
    if size % ranks:
        raise UserError(
            f"train.batch_size: {size} images per step cannot be shared equally by {ranks} ranks"
        )
    if 0 < last < ranks:
        raise UserError(
            f"train.batch_size: {size} leaves a last batch of {last} for {ranks} ranks; take "
            "another, or train.drop_last true"
        )


def _check_pair(train: Beton, test: Beton) -> None:
    if (train.height, train.width) != (test.height, test.width):
        raise UserError(
            f"{test.path}: images of {test.height}x{test.width}, but {train.path} has "
            f"{train.height}x{train.width}"
        )
    if train.height != train.width:
        raise UserError(f"{train.path}: images of {train.height}x{train.width}; expected squares")
    _check_labels(train)
    if train.sidecar and test.sidecar and train.sidecar.classes != test.sidecar.classes:
        raise UserError(
            f"{test.path}: holds {test.sidecar.dataset} with {test.classes} classes, but "
            f"{train.path} holds {train.sidecar.dataset} with {train.classes}"
        )
    if _split_of(train) == "test" and _split_of(test) == "train":
        raise UserError(
            f"{train.path} is a test set and {test.path} a training set: data.train and data.test "
            "are swapped"
        )
    if test.classes > train.classes:
        raise UserError(
            f"{test.path}: labels up to {test.classes - 1}, but {train.path} has "
            f"{train.classes} classes"
        )


def _check_labels(train: Beton) -> None:
    """Refuse classes of which most have no image, where no sidecar vouches for them."""
    if train.sidecar is not None:
        return
    used = np.unique(train.labels)
    if train.classes > 2 * len(used):
        raise UserError(
            f"{train.path}: labels up to {train.classes - 1}, but only {len(used)} of these "
            f"{train.classes} classes have an image; a label is damaged, or number the classes "
            "from 0 without gaps"
        )


def _warnings(train: Beton, test: Beton) -> list[str]:
    """What is allowed but deserves a warning."""
    warnings = [
        f"{beton.path} has no sidecar: damage to it cannot be detected"
        for beton in (train, test)
        if beton.sidecar is None
    ]
    if train.sha256 == test.sha256:
        warnings.append("training and test set are the same file: the test accuracy means nothing")
    elif _split_of(train) == "test":
        warnings.append(f"{train.path} is a test set, but is used for training")
    elif _split_of(test) == "train":
        warnings.append(f"{test.path} is a training set, but is used for testing")
    return warnings


def _split_of(beton: Beton) -> str | None:
    return None if beton.sidecar is None else beton.sidecar.split
