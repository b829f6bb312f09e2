"""Which images a run trains on, watches and tests, and what a plan of it asks beforehand.

Nothing here needs torch, so that planning a sweep takes neither its seconds nor its memory.
"""

from __future__ import annotations

import numpy as np

from engine.config.schema import Augment, Config
from engine.data import order
from engine.data.beton import Beton
from engine.data.counter import Ids
from engine.errors import UserError


def training_ids(config: Config, beton: Beton) -> tuple[Ids, Ids]:
    """The ids to train on and the held-out ones, of those that `data.limit` keeps."""
    limit = config.data.limit
    used = np.arange(len(beton), dtype=np.int64)
    if 0 < limit < len(beton):
        used = order.limited(beton.labels, limit, config.train.seed)
    held_out = held_out_of(config, len(used))
    trained, watched = order.split(len(used), held_out, config.train.seed)
    return used[trained], used[watched]


def held_out_of(config: Config, samples: int) -> int:
    """How many of `samples` images `data.validation` holds out; too many or none is an error."""
    limit, validation = config.data.limit, config.data.validation
    held_out = round(validation * samples) if validation < 1 else int(validation)
    least, what = config.train.batch_size, "one batch"
    if limit and samples // 2 < least:  # few images, for a rehearsal: their one batch is short
        least, what = samples - samples // 2, "half of them"
    if validation and not 0 < held_out <= samples - least:
        raise UserError(
            f"data.validation {validation:g}: holds out {held_out:,} of {samples:,} images; leave "
            f"at least {what} ({least}) to train on, and hold out at least one"
        )
    if config.train.drop_last and samples - held_out < config.train.batch_size:
        raise UserError(
            f"train.drop_last: leaves no batch: {samples - held_out:,} images to train on are "
            f"fewer than train.batch_size, {config.train.batch_size:,}"
        )
    return held_out


def tested_ids(beton: Beton, limit: int) -> Ids | None:
    """Which test images `data.limit` keeps, the same for all seeds; None: all."""
    return order.limited(beton.labels, limit, seed=0) if 0 < limit < len(beton) else None


def augment_problems(augment: Augment, side: int) -> list[tuple[str, str]]:
    """Settings that images of this side are too small for, as (key, problem)."""
    problems = []
    if augment.crop_padding >= side:
        text = f"{augment.crop_padding}: padding must be smaller than the image ({side}x{side})"
        problems.append(("augment.crop_padding", text))
    if augment.cutout > side:
        text = f"{augment.cutout}: expected 0 to {side}, the side of the image"
        problems.append(("augment.cutout", text))
    return problems
