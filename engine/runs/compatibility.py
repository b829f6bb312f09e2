"""Checks that a configuration, its network and its data fit together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from engine import model
from engine.config.schema import Config
from engine.data.subsets import augment_problems
from engine.model import budget
from engine.runs import tensorboard


def problems(config: Config, classes: int, side: int, images: int) -> Iterator[tuple[str, str]]:
    """What prevents training on `images` square images of `side`, as (dotted key, message)."""
    yield from tensorboard.problems(config.run)
    of_network = model.problems(config.model, classes, side)
    yield from of_network
    yield from augment_problems(config.augment, side)
    if of_network:
        return
    yield from _of_stages(config, classes, side)
    yield from _of_groups(config)
    size = config.train.batch_size
    short = images % size == 1 and not config.train.drop_last
    if short and _one_pixel_at_the_end(config, side):
        what = "leaves a last batch of one image, which cannot be normalised over a 1x1 map"
        yield "train.batch_size", f"{size} {what}; take another"


def _of_stages(config: Config, classes: int, side: int) -> Iterator[tuple[str, str]]:
    """Stages that the network cannot have."""
    variant, frozen = model.resolve(config.model), config.train.freeze_layers
    if frozen > len(variant.blocks):
        yield (
            "train.freeze_layers",
            f"{frozen}: the network has {len(variant.blocks)} layers (see python -m engine.train "
            "--describe)",
        )
    if config.optim.stem_bias_epochs is not None and variant.stem != "whiten":
        yield "optim.stem_bias_epochs", "the network's stem has no bias; model.stem is not whiten"
    for size, following in itertools.pairwise((*config.augment.sizes, side)):
        if size > side:
            yield "augment.sizes", f"{size}: larger than the images, which have {side} pixels"
        elif size == following:
            what = "the next size" if size != side else "that of the images, which comes next"
            yield "augment.sizes", f"{size}: the same as {what}; leave it out"
    for size in config.augment.sizes:
        wrong = model.problems(config.model, classes, size)
        if wrong:
            yield "augment.sizes", f"{size}: too small for the network: {wrong[0][1]}"
        elif budget.pooled_side(variant, size) != budget.pooled_side(variant, side):
            yield (
                "augment.sizes",
                f"{size}: the pool leaves another number of inputs to the classifier than at "
                f"{side} pixels; give model.pool global",
            )


def _of_groups(config: Config) -> Iterator[tuple[str, str]]:
    """Rates of parameters that the network does not have."""
    variant = model.resolve(config.model)
    if variant.stem == "whiten" or variant.se != "none":
        return
    for name in ("rest_lr", "rest_weight_decay"):
        if getattr(config.optim, name) is not None:
            what = "every parameter is a filter, batch norm's or the classifier's"
            yield f"optim.{name}", f"{what}; there is neither a whitening stem nor an SE unit"


def _one_pixel_at_the_end(config: Config, side: int) -> bool:
    sides = (side, *config.augment.sizes)
    variant = model.resolve(config.model)
    return any(model.feature_maps(variant, each)[-1] == 1 for each in sides)
