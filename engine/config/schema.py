"""Every setting of a training run: its default, its limits and one line that explains it.

A `Config` is complete and checked before anything is opened; it is passed as an argument and
never changed. `options.read` fills it from YAML files and flags.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from engine.config.fields import option, section


@dataclass(frozen=True)
class Data:
    """The data set: FFCV files written by `writers/cifar.py`."""

    train: str = option("data/cifar10_train.beton", "training set, a .beton file")
    test: str = option("data/cifar10_test.beton", "test set, a .beton file")
    validation: float = option(
        0.0,
        "images held out of the training set: a fraction below 1 or a number; 0: none, and the "
        "test set is evaluated every epoch",
        low=0.0,
    )
    limit: int = option(
        0,
        "training images used, before any are held out: drawn from the seed, the classes in equal "
        "shares; the test set is cut to as many; 0: all",
        low=0,
    )
    mode: str = option(
        "auto",
        "resident: the whole set in the device's memory; stream: read batch by batch; auto: "
        "resident where it fits",
        choices=("auto", "resident", "stream"),
    )


@dataclass(frozen=True)
class Augment:
    """What happens to a training image on the device; test images are only normalised."""

    crop_padding: int = option(4, "pixels of padding before the random crop", low=0, high=31)
    padding_mode: str = option(
        "zeros", "what the padding holds", choices=("zeros", "reflect", "edge")
    )
    flip: str = option(
        "random",
        "random: mirror half of the images, drawn anew each epoch; alternating: drawn once, then "
        "the other half each epoch; true and false mean random and none",
        choices=("random", "alternating", "none"),
        truth=("random", "none"),
    )
    autoaugment: bool = option(False, "AutoAugment's CIFAR-10 policy, after crop and flip")
    cutout: int = option(0, "side of a black square put on each image; 0: none", low=0, high=32)
    normalize: bool = option(
        True, "take off the mean and divide by the deviation; false: pixels from 0 to 1 as they are"
    )
    mean: tuple[float, ...] | str = option(
        (0.4914, 0.4822, 0.4465),
        "per-channel mean taken off, on a scale of 0 to 1; `data`: as the training file records",
        low=0.0,
        high=1.0,
        length=3,
        words=("data",),
    )
    std: tuple[float, ...] | str = option(
        (0.2023, 0.1994, 0.2010),
        "per-channel deviation divided by; `data`: as the training file records",
        low=0.0,
        above=True,
        length=3,
        words=("data",),
    )


@dataclass(frozen=True)
class Model:
    """The network: a variant by name, or its parts; given parts override the named variant's.

    Lists hold one entry a layer; one entry alone serves all layers (one width: doubled from
    layer to layer).
    """

    name: str = option("", "a variant of `--list`; empty: built from the parts below")
    blocks: tuple[int, ...] = option((), "residual blocks of each layer", low=1, high=1000)
    widths: tuple[int, ...] = option((), "channels of each layer", low=1, high=65536)
    conv_kernels: tuple[int, ...] = option((), "kernel of the blocks' convolutions", low=1, high=11)
    skip_kernels: tuple[int, ...] = option(
        (), "kernel of the convolution on the skip path", low=1, high=11
    )
    pool: int | str | None = option(
        None,
        "average-pool kernel before the classifier; `global`: the whole map",
        low=1,
        high=32,
        words=("global",),
    )
    se: str | None = option(
        None,
        "squeeze-and-excitation: after the stem or in every block",
        choices=("none", "stem", "block"),
    )
    se_reduction: int | None = option(None, "channels divided by inside an SE unit", low=1)
    skip: str | None = option(
        None,
        "how a skip path changes size: strided convolution, or max pool then convolution",
        choices=("conv", "maxpool"),
    )
    preactivation: bool | None = option(
        None, "normalise and activate before each convolution instead of after it"
    )
    stem_kernel: int | None = option(None, "kernel of the first convolution", low=1, high=11)
    stem_stride: int | None = option(None, "stride of the first convolution", low=1, high=4)
    dropout: float | None = option(None, "dropout probability", low=0.0, high=1.0, below=True)
    dropout_place: str | None = option(
        None,
        "dropout before the classifier or after every block",
        choices=("classifier", "block"),
    )
    init: str = option(
        "default",
        "how the weights of convolutions and classifier are drawn; biases always as PyTorch does",
        choices=(
            "default",
            "xavier_uniform",
            "xavier_normal",
            "he_uniform",
            "he_normal",
            "normal",
            "orthogonal",
        ),
    )
    init_std: float = option(0.02, "deviation of init normal", low=0.0, above=True)
    init_gain: float | None = option(
        None,
        "gain of the Xavier and orthogonal inits; not given: 1 for xavier_uniform, else the root "
        "of 2",
        low=0.0,
        above=True,
    )
    budget: int = option(5_000_000, "most parameters allowed; 0 lifts the limit", low=0)


@dataclass(frozen=True)
class Train:
    """How long, in what portions, from which seed."""

    epochs: int = option(200, "passes over the training set", low=1, high=100_000)
    batch_size: int = option(128, "images a step", low=2, high=65536)
    seed: int = option(0, "every random draw follows from it", low=0, high=2**63 - 1)
    evaluate_every: int = option(1, "epochs between evaluations; the last always has one", low=1)
    evaluate_batch_size: int = option(512, "images at a time in evaluation", low=1, high=65536)


@dataclass(frozen=True)
class Optim:
    """The optimizer."""

    name: str = option("sgd", "the optimizer", choices=("sgd", "adam"))
    lr: float = option(0.1, "learning rate (the peak of a OneCycle)", low=0.0, above=True)
    momentum: float = option(0.9, "momentum of SGD", low=0.0, high=1.0, below=True)
    nesterov: bool = option(False, "Nesterov momentum for SGD")
    weight_decay: float = option(5e-4, "L2 penalty on all parameters", low=0.0)
    betas: tuple[float, ...] = option(
        (0.9, 0.999), "decay rates of Adam's averages", low=0.0, high=1.0, below=True, length=2
    )
    eps: float = option(1e-8, "Adam's guard against division by zero", low=0.0, above=True)
    clip_value: float = option(0.0, "clip each gradient entry to this; 0: off", low=0.0)
    clip_norm: float = option(0.0, "clip the norm of all gradients to this; 0: off", low=0.0)
    lookahead_k: int = option(
        0,
        "steps from one meeting with Lookahead's slow weights to the next; 0: no Lookahead",
        low=0,
    )
    lookahead_alpha: float = option(
        0.5,
        "share of the way to the fast weights that the slow ones go",
        low=0.0,
        high=1.0,
        above=True,
    )
    lookahead_start: str = option(
        "first",
        "first: slow weights begin after the first step and meet at steps 1, k + 1, 2k + 1, as the "
        "reports' ancestor had it; k: they begin as the weights do and meet at k, 2k, as published",
        choices=("first", "k"),
    )


@dataclass(frozen=True)
class Schedule:
    """The learning rate over time, a pure function of the step.

    Lengths are in epochs however often the rate moves; factors act once a move, as torch's do.
    """

    name: str = option(
        "cosine",
        "constant; cosine; restarts (cosine, warm); onecycle; cyclic; step; multistep; exponential "
        "(lr times gamma^n at move n); multiplicative (times gamma, then gamma^2, gamma^3, ...)",
        choices=(
            "cosine",
            "restarts",
            "onecycle",
            "cyclic",
            "step",
            "multistep",
            "exponential",
            "multiplicative",
            "constant",
        ),
    )
    per: str = option(
        "auto",
        "how often the rate moves; auto: every step for onecycle, every epoch for the others",
        choices=("auto", "epoch", "step"),
    )
    t_max: float = option(
        0.0, "epochs to cosine's lowest point, or of a whole OneCycle; 0: train.epochs", low=0.0
    )
    minimum: float = option(0.0, "lowest rate of cosine, restarts and cyclic", low=0.0)
    period: int = option(10, "epochs to the first of restarts", low=1)
    period_factor: int = option(1, "each period of restarts is so many times the last", low=1)
    rise: float = option(5.0, "epochs that cyclic rises", low=0.0, above=True)
    fall: float = option(0.0, "epochs that cyclic falls; 0: as many as it rises", low=0.0)
    cycle: str = option(
        "triangular",
        "peaks of cyclic. triangular: all alike; triangular2: each half the last; exp_range: times "
        "gamma at every move",
        choices=("triangular", "triangular2", "exp_range"),
    )
    step_size: int = option(30, "epochs from one fall of step to the next", low=1)
    milestones: tuple[int, ...] = option((), "epochs after which multistep falls", low=1)
    gamma: float = option(
        0.1,
        "factor of step, multistep, exponential, multiplicative and cyclic exp_range",
        low=0.0,
        above=True,
        high=1.0,
    )
    anneal: str = option(
        "cosine", "the curve of a OneCycle's rise and fall", choices=("cosine", "linear")
    )
    pct_start: float = option(
        0.3, "share of a OneCycle that rises", low=0.0, above=True, high=1.0, below=True
    )
    div_factor: float = option(25.0, "OneCycle starts at lr over this", low=1.0)
    final_div_factor: float = option(1e4, "OneCycle ends at its start over this", low=1.0)
    cycle_momentum: bool = option(
        True, "onecycle and cyclic move momentum (Adam: beta1) against the rate"
    )
    base_momentum: float | None = option(
        None,
        "lowest momentum of onecycle (not given: 0.85) and cyclic (not given: 0.8)",
        low=0.0,
        above=True,
        high=1.0,
        below=True,
    )
    max_momentum: float | None = option(
        None,
        "highest momentum of onecycle (not given: 0.95) and cyclic (not given: 0.9)",
        low=0.0,
        above=True,
        high=1.0,
        below=True,
    )

    @property
    def momenta(self) -> tuple[float, float]:
        """The lowest and the highest momentum of a schedule that moves it."""
        low, high = (0.8, 0.9) if self.name == "cyclic" else (0.85, 0.95)
        return (
            low if self.base_momentum is None else self.base_momentum,
            high if self.max_momentum is None else self.max_momentum,
        )


@dataclass(frozen=True)
class Runtime:
    """The machine."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    precision: str = option(
        "auto",
        "auto: bf16 where the device has units for it and is faster by them, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool | str = option(
        "auto", "torch.compile; auto: where the run is long enough to repay it", words=("auto",)
    )
    graph: bool | str = option(
        "auto", "the whole step as one CUDA graph; auto: on a GPU", words=("auto",)
    )
    channels_last: bool = option(True, "images and weights in memory as N H W C")
    tf32: bool = option(False, "fp32 products by a GPU's TF32 units, of 10 bits of mantissa")
    autotune: bool = option(True, "cuDNN tries its kernels for each shape; never in exact mode")
    threads: int = option(0, "CPU threads of torch; 0: one a core", low=0, high=1024)
    exact: bool = option(
        False, "the same bits on every run: deterministic kernels, one thread's order of sums"
    )
    cache: str = option(
        "", "folder of compiled code and of what was measured; empty: .cache in run.root"
    )


@dataclass(frozen=True)
class Run:
    """Where the run is written."""

    root: str = option("runs", "folder of all runs")
    name: str = option("", "folder of this run; empty: <config>-s<seed>-<fingerprint>")
    tensorboard: bool = option(False, "also write TensorBoard events (pip extra: tensorboard)")


@dataclass(frozen=True)
class Checkpoint:
    """When the state of training is saved; a stop by a signal always saves."""

    every_epochs: int = option(1, "epochs between checkpoints; 0: none but the last", low=0)
    every_steps: int = option(0, "steps between checkpoints within an epoch; 0: none", low=0)
    keep: int = option(2, "checkpoints kept, newest first", low=1)


@dataclass(frozen=True)
class Config:
    """One training run."""

    data: Data = section(Data)
    augment: Augment = section(Augment)
    model: Model = section(Model)
    train: Train = section(Train)
    optim: Optim = section(Optim)
    schedule: Schedule = section(Schedule)
    runtime: Runtime = section(Runtime)
    run: Run = section(Run)
    checkpoint: Checkpoint = section(Checkpoint)


def as_dict(config: Any) -> dict[str, Any]:
    """The settings as plain nested dictionaries, tuples as lists, ready for JSON or YAML."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return dict(plain(dataclasses.asdict(config)))


def from_dict(content: dict[str, Any]) -> Config:
    """The `Config` that `as_dict` turned into plain dictionaries."""
    kinds = (Data, Augment, Model, Train, Optim, Schedule, Runtime, Run, Checkpoint)
    sections: dict[str, Any] = {
        kind.__name__.lower(): kind(**{key: _tupled(v) for key, v in values.items()})
        for kind in kinds
        for values in [content[kind.__name__.lower()]]
    }
    return Config(**sections)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
