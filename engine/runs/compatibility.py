"""Checks that a configuration, its network and its data fit together."""

from __future__ import annotations

from collections.abc import Iterator

from engine import model
from engine.config.schema import Config
from engine.data.subsets import augment_problems


def problems(config: Config, classes: int, side: int, images: int) -> Iterator[tuple[str, str]]:
    """What prevents training on `images` square images of `side`, as (dotted key, message)."""
    of_network = model.problems(config.model, classes, side)
    yield from of_network
    yield from augment_problems(config.augment, side)
    size = config.train.batch_size
    if not of_network and images % size == 1 and _one_pixel_at_the_end(config, side):
        what = "leaves a last batch of one image, which cannot be normalised over a 1x1 map"
        yield "train.batch_size", f"{size} {what}; take another"


def _one_pixel_at_the_end(config: Config, side: int) -> bool:
    return model.feature_maps(model.resolve(config.model), side)[-1] == 1
