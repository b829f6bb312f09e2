"""Every setting of a training run: its default, its limits and one line that explains it.

A `Config` is complete and checked before anything is opened; it is passed as an argument and
never changed. `options.read` builds it from YAML files and flags.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from engine.config.fields import option, section

POSITIVE = {"low": 0.0, "above": True}
BETWEEN_0_AND_1 = {"low": 0.0, "above": True, "high": 1.0, "below": True}


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


@dataclass(frozen=True)
class Model:
    """The network: a variant by name, or its parts; parts override those of the named variant.

    Lists have one entry per layer; a single entry holds for all layers (a single width doubles
    from layer to layer).
    """

    name: str = option("", "a variant of `--list`; empty: the parts below define the network")
    blocks: tuple[int, ...] = option((), "residual blocks per layer", low=1, high=1000)
    widths: tuple[int, ...] = option((), "channels per layer", low=1, high=65536)
    conv_kernels: tuple[int, ...] = option(
        (), "kernel size of the blocks' convolutions", low=1, high=11
    )
    skip_kernels: tuple[int, ...] = option(
        (), "kernel size of the convolution on the skip path", low=1, high=11
    )
    pool: int | str | None = option(
        None,
        "kernel size of the average pool before the classifier; `global`: the whole feature map",
        low=1,
        high=32,
        words=("global",),
    )
    se: str | None = option(
        None,
        "squeeze-and-excitation: after the stem or in every block",
        choices=("none", "stem", "block"),
    )
    se_reduction: int | None = option(None, "reduction ratio of the SE units", low=1)
    skip: str | None = option(
        None,
        "skip path where the size changes. conv: strided convolution; maxpool: max pool, then "
        "convolution",
        choices=("conv", "maxpool"),
    )
    preactivation: bool | None = option(
        None, "pre-activation blocks: batch norm and ReLU before each convolution, not after"
    )
    stem_kernel: int | None = option(None, "kernel size of the first convolution", low=1, high=11)
    stem_stride: int | None = option(None, "stride of the first convolution", low=1, high=4)
    dropout: float | None = option(None, "dropout probability", low=0.0, high=1.0, below=True)
    dropout_place: str | None = option(
        None,
        "dropout before the classifier or after every block",
        choices=("classifier", "block"),
    )
    init: str = option(
        "default",
        "initialisation of the weights of convolutions and classifier; biases: PyTorch's default",
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
    init_std: float = option(0.02, "standard deviation of init normal", **POSITIVE)
    init_gain: float | None = option(
        None,
        "gain of the Xavier and orthogonal inits; not given: 1 for xavier_uniform, else sqrt(2)",
        **POSITIVE,
    )
    weights: str = option(
        "",
        "start from these weights (fine-tuning): the folder of a finished run, or a .safetensors "
        "file; empty: draw them",
    )
    weights_classifier: str = option(
        "loaded",
        "the classifier of a network that starts from model.weights. new: drawn as usual, whatever "
        "the file has",
        choices=("loaded", "new"),
    )
    budget: int = option(5_000_000, "maximum number of parameters; 0: no limit", low=0)


@dataclass(frozen=True)
class Train:
    """Length, batch size and seed of training."""

    epochs: int = option(200, "passes over the training set", low=1, high=100_000)
    batch_size: int = option(128, "images per step", low=2, high=65536)
    seed: int = option(0, "seed of everything random", low=0, high=2**63 - 1)
    evaluate_every: int = option(1, "evaluate after every N epochs, and after the last", low=1)
    evaluate_batch_size: int = option(512, "images per batch of evaluation", low=1, high=65536)


@dataclass(frozen=True)
class Optim:
    """The optimizer."""

    name: str = option("sgd", "the optimizer", choices=("sgd", "adam"))
    lr: float = option(0.1, "learning rate; of onecycle and cyclic: the maximum", **POSITIVE)
    momentum: float = option(0.9, "momentum of SGD", low=0.0, high=1.0, below=True)
    nesterov: bool = option(False, "Nesterov momentum for SGD")
    weight_decay: float = option(5e-4, "L2 penalty (weight decay) on all parameters", low=0.0)
    betas: tuple[float, ...] = option(
        (0.9, 0.999),
        "Adam's decay rates of the first and second moment",
        low=0.0,
        high=1.0,
        below=True,
        length=2,
    )
    eps: float = option(1e-8, "Adam's epsilon, added to the denominator", **POSITIVE)
    clip_value: float = option(
        0.0, "clip each element of the gradients to this absolute value; 0: off", low=0.0
    )
    clip_norm: float = option(0.0, "clip the norm of all gradients to this value; 0: off", low=0.0)
    lookahead_k: int = option(
        0,
        "Lookahead: synchronisation period k, in steps; 0: no Lookahead",
        low=0,
    )
    lookahead_alpha: float = option(
        0.5,
        "Lookahead: interpolation factor alpha",
        low=0.0,
        high=1.0,
        above=True,
    )
    lookahead_start: str = option(
        "first",
        "Lookahead: first synchronisation. first: the slow weights start from the weights after "
        "step 1 and are synchronised at steps 1, k + 1, 2k + 1, as in the code that the reports "
        "build on; k: they start from the initial weights and are synchronised at steps k, 2k, as "
        "published",
        choices=("first", "k"),
    )


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the step.

    Lengths are in epochs however often the schedule is stepped; factors apply per scheduler step,
    as in torch.
    """

    name: str = option(
        "cosine",
        "the schedule. restarts: cosine with warm restarts; exponential: lr * gamma^n after n "
        "scheduler steps; multiplicative: the n-th scheduler step multiplies by gamma^n",
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
        "how often the scheduler is stepped; auto: per step for onecycle, per epoch for the others",
        choices=("auto", "epoch", "step"),
    )
    t_max: float = option(
        0.0, "epochs to cosine's minimum, or of a whole OneCycle; 0: train.epochs", low=0.0
    )
    minimum: float = option(
        0.0,
        "minimum learning rate of cosine, restarts (torch: eta_min) and cyclic (base_lr)",
        low=0.0,
    )
    period: int = option(10, "epochs to the first restart (torch: T_0)", low=1)
    period_factor: int = option(
        1, "factor by which each restart period grows (torch: T_mult)", low=1
    )
    rise: float = option(5.0, "epochs of cyclic's rising half", **POSITIVE)
    fall: float = option(0.0, "epochs of cyclic's falling half; 0: as the rising", low=0.0)
    cycle: str = option(
        "triangular",
        "amplitude of cyclic. triangular: constant; triangular2: halved after each cycle; "
        "exp_range: times gamma per scheduler step",
        choices=("triangular", "triangular2", "exp_range"),
    )
    step_size: int = option(30, "epochs between decays of step", low=1)
    milestones: tuple[int, ...] = option((), "epochs after which multistep decays", low=1)
    gamma: float = option(
        0.1,
        "decay factor of step, multistep, exponential, multiplicative and cyclic exp_range",
        low=0.0,
        above=True,
        high=1.0,
    )
    anneal: str = option(
        "cosine", "annealing of onecycle (torch: anneal_strategy)", choices=("cosine", "linear")
    )
    pct_start: float = option(
        0.3, "fraction of onecycle that raises the learning rate", **BETWEEN_0_AND_1
    )
    div_factor: float = option(25.0, "onecycle starts at lr divided by this", low=1.0)
    final_div_factor: float = option(1e4, "onecycle ends at its start divided by this", low=1.0)
    cycle_momentum: bool = option(
        True, "onecycle and cyclic vary momentum (Adam: beta1) inversely to the learning rate"
    )
    base_momentum: float | None = option(
        None,
        "minimum momentum of onecycle (not given: 0.85) and cyclic (not given: 0.8)",
        **BETWEEN_0_AND_1,
    )
    max_momentum: float | None = option(
        None,
        "maximum momentum of onecycle (not given: 0.95) and cyclic (not given: 0.9)",
        **BETWEEN_0_AND_1,
    )

    @property
    def momenta(self) -> tuple[float, float]:
        """The minimum and maximum momentum of onecycle and cyclic."""
        low, high = (0.8, 0.9) if self.name == "cyclic" else (0.85, 0.95)
        return (
            low if self.base_momentum is None else self.base_momentum,
            high if self.max_momentum is None else self.max_momentum,
        )


@dataclass(frozen=True)
class Runtime:
    """The device, and how it computes."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    precision: str = option(
        "auto",
        "number format of mixed precision; auto: bf16 where the hardware has units for it (and, on "
        "a CPU, is faster with them), else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool | str = option(
        "auto", "torch.compile; auto: on a GPU, not on a CPU", words=("auto",)
    )
    graph: bool | str = option(
        "auto", "run the whole step as one CUDA graph; auto: on a GPU", words=("auto",)
    )
    channels_last: bool = option(True, "channels_last memory format (N H W C)")
    tf32: bool = option(False, "TF32 for fp32 matrix products and convolutions on a GPU")
    autotune: bool = option(
        True, "cuDNN benchmark mode: time its kernels per shape; off with exact"
    )
    threads: int = option(0, "CPU threads of torch; 0: one per core", low=0, high=1024)
    exact: bool = option(
        False, "bit-identical results on every run: deterministic kernels, one thread on a CPU"
    )
    cache: str = option(
        "", "folder for compiled code and measurements of the machine; empty: .cache in run.root"
    )


@dataclass(frozen=True)
class Run:
    """Where the run is written."""

    root: str = option("runs", "folder of all runs")
    name: str = option("", "folder of this run; empty: <config>-s<seed>-<fingerprint>")
    tensorboard: bool = option(False, "also write TensorBoard events (pip extra: tensorboard)")


@dataclass(frozen=True)
class Checkpoint:
    """When checkpoints are saved; a stop by a signal always saves one."""

    every_epochs: int = option(1, "epochs between checkpoints; 0: only after the last", low=0)
    every_steps: int = option(0, "steps between checkpoints within an epoch; 0: none", low=0)
    keep: int = option(2, "number of newest checkpoints to keep", low=1)
    best: bool = option(
        False,
        "also keep the weights of the epoch with the best accuracy on held-out validation images "
        "(data.validation); the result stays that of the last epoch",
    )


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
    """The inverse of `as_dict`."""
    kinds: dict[str, Any] = {
        field.name: field.default_factory for field in dataclasses.fields(Config)
    }
    sections = {
        name: kind(**{key: _tupled(value) for key, value in content[name].items()})
        for name, kind in kinds.items()
    }
    return Config(**sections)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
