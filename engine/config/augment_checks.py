"""Settings of augmentation, and of the stages of a run, that contradict each other."""

from __future__ import annotations

from engine.config.fields import Check, Problems, check
from engine.config.schema import Config


@check("augment.sizes", "augment.sizes_until")
def sizes_have_ends(config: Config) -> Problems:
    """Each size has one end, in the order of the run."""
    sizes, ends = config.augment.sizes, config.augment.sizes_until
    if len(sizes) != len(ends):
        yield (
            "augment.sizes_until",
            f"expected one share of the run for each of augment.sizes ({len(sizes)}), found "
            f"{len(ends)}",
        )
    elif list(ends) != sorted(set(ends)):
        yield "augment.sizes_until", f"expected rising shares of the run, found {list(ends)}"


@check("train.freeze_layers", "train.freeze_from")
def freezing_has_layers_and_a_start(config: Config) -> Problems:
    """One without the other would silently do nothing."""
    train = config.train
    if train.freeze_layers and train.freeze_from == 1.0:
        yield "train.freeze_layers", "nothing is frozen; train.freeze_from is 1, the end of the run"
    if not train.freeze_layers and train.freeze_from != 1.0:
        yield "train.freeze_from", "nothing is frozen; train.freeze_layers is 0"


@check("augment.cutout_fill", "augment.cutout", "augment.erasing")
def fill_has_something_to_fill(config: Config) -> Problems:
    """Without cutout and erasing the colour would silently do nothing."""
    augment = config.augment
    if augment.cutout_fill != "black" and not augment.cutout and not augment.erasing:
        yield "augment.cutout_fill", "nothing is filled; augment.cutout and augment.erasing are 0"


AUGMENT: tuple[Check[Config], ...] = (fill_has_something_to_fill,)
STAGES: tuple[Check[Config], ...] = (sizes_have_ends, freezing_has_layers_and_a_start)
