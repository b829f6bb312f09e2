"""The settings of the optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import POSITIVE, option


@dataclass(frozen=True)
class Optim:
    """The optimizer."""

    name: str = option(
        "sgd",
        "the optimizer. adamw: Adam with decoupled weight decay; muon: Muon for the filters of "
        "convolutions, SGD for all else",
        choices=("sgd", "adam", "adamw", "muon"),
    )
    lr: float = option(0.1, "learning rate; of onecycle and cyclic: the maximum", **POSITIVE)
    momentum: float = option(0.9, "momentum of SGD, or of Muon", low=0.0, high=1.0, below=True)
    nesterov: bool = option(False, "Nesterov momentum for SGD or Muon")
    weight_decay: float = option(
        5e-4,
        "weight decay of all parameters: an L2 penalty in sgd and adam, decoupled in adamw and "
        "muon; filters that muon_normalise holds at one norm have none",
        low=0.0,
    )
    decay_biases: bool = option(
        True, "weight decay on biases and batch norm too; false: on weights alone"
    )
    norm_lr: float | None = option(
        None, "learning rate of batch norm's scales and biases; not given: optim.lr", **POSITIVE
    )
    norm_weight_decay: float | None = option(
        None, "weight decay of batch norm's; not given: optim.weight_decay", low=0.0
    )
    head_lr: float | None = option(
        None, "learning rate of the classifier; not given: optim.lr", **POSITIVE
    )
    head_weight_decay: float | None = option(
        None, "weight decay of the classifier; not given: optim.weight_decay", low=0.0
    )
    rest_lr: float | None = option(
        None,
        "learning rate of all that is neither a convolution's filter, batch norm's nor the "
        "classifier's; not given: optim.lr",
        **POSITIVE,
    )
    rest_weight_decay: float | None = option(
        None, "weight decay of these; not given: optim.weight_decay", low=0.0
    )
    rest_momentum: float = option(
        0.85,
        "momentum (Nesterov's) of the parameters that Muon leaves to SGD",
        low=0.0,
        high=1.0,
        below=True,
    )
    stem_bias_epochs: float | None = option(
        None,
        "a whitening stem's bias is trained for this many epochs, its rate falling linearly from "
        "optim.rest_lr to 0; not given: as everything else",
        **POSITIVE,
    )
    muon_steps: int = option(3, "Muon: Newton-Schulz iterations", low=1, high=20)
    muon_normalise: bool = option(
        True, "Muon: before each update scale each filter bank to the norm sqrt(output channels)"
    )
    betas: tuple[float, ...] = option(
        (0.9, 0.999),
        "Adam's and AdamW's decay rates of the first and second moment",
        low=0.0,
        high=1.0,
        below=True,
        length=2,
    )
    eps: float = option(1e-8, "Adam's and AdamW's epsilon, added to the denominator", **POSITIVE)
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
    lookahead_power: float = option(
        0.0,
        "Lookahead: at a share t of the run alpha is 1 - (1 - optim.lookahead_alpha) t^power; 0: "
        "constant",
        low=0.0,
        high=10.0,
    )
    lookahead_buffers: bool = option(
        False, "Lookahead: batch norm's running averages are synchronised too"
    )
    lookahead_end: str = option(
        "fast",
        "Lookahead: the weights that the run ends with, which are its result",
        choices=("fast", "slow"),
    )
    ema_decay: float = option(
        0.0,
        "exponential moving average of the weights, which is evaluated and is the result: its "
        "decay per update of the average; 0: none",
        low=0.0,
        high=1.0,
        below=True,
    )
    ema_every: int = option(1, "steps between updates of the average", low=1)
    ema_start: float = option(
        0.0,
        "the share of the run's steps after which the average begins, as a copy of the weights",
        low=0.0,
        high=1.0,
        below=True,
    )
