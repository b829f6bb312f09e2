"""The settings of the data set and of augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import BETWEEN_0_AND_1, option


@dataclass(frozen=True)
class Data:
    """The data set: FFCV files written by `writers/cifar.py`."""

    train: str = option("data/cifar10_train.beton", "training set, a .beton file")
    test: str = option("data/cifar10_test.beton", "test set, a .beton file")
    validation: float = option(
        0.0,
        "held-out validation set: a fraction of the training images (below 1) or their number; 0: "
        "none, the test set is evaluated every epoch",
        low=0.0,
    )
    limit: int = option(
        0,
        "use only N training images, the held-out ones among them, drawn from the seed with equal "
        "shares of the classes; the test set is cut to N; 0: all",
        low=0,
    )
    mode: str = option(
        "auto",
        "resident: the whole data set in the device's memory; stream: read batch by batch; auto: "
        "resident if it fits",
        choices=("auto", "resident", "stream"),
    )


@dataclass(frozen=True)
class Augment:
    """Augmentation of training images, on the device; test images are only normalised."""

    crop_padding: int = option(4, "pixels of padding before the random crop", low=0, high=31)
    padding_mode: str = option(
        "zeros", "what the padding is filled with", choices=("zeros", "reflect", "edge")
    )
    flip: str = option(
        "random",
        "horizontal flip. random: with probability 0.5 per image and epoch; alternating: a random "
        "half in the first epoch, then the other half, and so on; true means random, false none",
        choices=("random", "alternating", "none"),
        truth=("random", "none"),
    )
    autoaugment: bool = option(False, "AutoAugment with its CIFAR-10 policy, after crop and flip")
    cutout: int = option(
        0, "Cutout: side of the black square on each image, in pixels; 0: none", low=0, high=32
    )
    cutout_fill: str = option(
        "black",
        "what Cutout and random erasing fill with; mean: the mean colour, 0 once normalised",
        choices=("black", "mean"),
    )
    erasing: float = option(
        0.0,
        "random erasing: probability that a rectangle of each image is filled (torchvision's "
        "RandomErasing: 2 to 33 % of the area, aspect ratio 0.3 to 3.3)",
        low=0.0,
        high=1.0,
    )
    brightness: float = option(
        0.0, "colour jitter: brightness times a factor up to this far from 1", low=0.0, high=1.0
    )
    contrast: float = option(
        0.0, "colour jitter: contrast times a factor up to this far from 1", low=0.0, high=1.0
    )
    saturation: float = option(
        0.0, "colour jitter: saturation times a factor up to this far from 1", low=0.0, high=1.0
    )
    mixup: float = option(
        0.0, "MixUp: alpha of the Beta distribution of the share; 0: none", low=0.0, high=100.0
    )
    cutmix: float = option(
        0.0, "CutMix: alpha of the Beta distribution of the area; 0: none", low=0.0, high=100.0
    )
    sizes: tuple[int, ...] = option(
        (),
        "sides to which whole images are resized on the device (bilinear, antialiased) in the "
        "first parts of the run, in pixels; the rest of the run has the images' own",
        low=4,
        high=1024,
    )
    sizes_until: tuple[float, ...] = option(
        (),
        "the share of the run's steps after which each of augment.sizes ends, rising",
        **BETWEEN_0_AND_1,
    )
    normalize: bool = option(
        True, "subtract the mean, divide by the standard deviation; false: pixels from 0 to 1"
    )
    mean: tuple[float, ...] | str = option(
        (0.4914, 0.4822, 0.4465),
        "mean per channel, for pixels from 0 to 1; `data`: that of the training set",
        low=0.0,
        high=1.0,
        length=3,
        words=("data",),
    )
    std: tuple[float, ...] | str = option(
        (0.2023, 0.1994, 0.2010),
        "standard deviation per channel, for pixels from 0 to 1; `data`: that of the training set",
        low=0.0,
        above=True,
        length=3,
        words=("data",),
    )
