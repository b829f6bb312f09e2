"""Whether a configuration fits its data: what neither of the two shows alone."""

from __future__ import annotations

from collections.abc import Iterator

from engine.config.schema import Config
from engine.data import sets
from engine.model import feature_maps, problems, resolve


def misfits(config: Config, classes: int, side: int, images: int) -> Iterator[tuple[str, str]]:
    """What stands against training on `images` square images, as (dotted key, message)."""
    wrong = problems(config.model, classes, side)
    yield from wrong
    yield from sets.augment_problems(config.augment, side)
    size = config.train.batch_size
    if not wrong and images % size == 1 and feature_maps(resolve(config.model), side)[-1] == 1:
        what = "leaves a last batch of one image, which cannot be normalised over a 1x1 map"
        yield "train.batch_size", f"{size} {what}; take another"
