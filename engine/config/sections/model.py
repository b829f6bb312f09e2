"""The settings of the network."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import POSITIVE, option


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
        "kernel size of the pool before the classifier; `global`: the whole feature map",
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
        None, "pre-activation blocks: batch norm and activation before each convolution, not after"
    )
    stem_kernel: int | None = option(None, "kernel size of the first convolution", low=1, high=11)
    stem_stride: int | None = option(None, "stride of the first convolution", low=1, high=4)
    dropout: float | None = option(None, "dropout probability", low=0.0, high=1.0, below=True)
    dropout_place: str | None = option(
        None,
        "dropout before the classifier or after every block",
        choices=("classifier", "block"),
    )
    stem: str | None = option(
        None,
        "the first convolution. conv: trained; whiten: its filters are the principal components "
        "of training patches, divided by their deviation, and never trained, only its bias is; "
        "it has 6 x model.stem_kernel^2 channels, no padding and no batch norm",
        choices=("conv", "whiten"),
    )
    transition: str | None = option(
        None,
        "how a layer begins. stride: its first block projects the skip path and, from the second "
        "layer on, halves the map; pool: convolution, 2x2 max pool, batch norm and activation, "
        "then blocks of one size",
        choices=("stride", "pool"),
    )
    activation: str | None = option(
        None, "the activation function", choices=("relu", "gelu", "silu")
    )
    norm_scale: bool | None = option(
        None, "batch norm trains its scale; false: the scale stays 1, the bias is trained"
    )
    norm_eps: float | None = option(None, "batch norm's epsilon, added to the variance", **POSITIVE)
    norm_momentum: float | None = option(
        None,
        "batch norm's momentum as in torch: the weight of the newest batch in running averages",
        low=0.0,
        above=True,
        high=1.0,
    )
    pool_kind: str | None = option(
        None,
        "the pool before the classifier takes the mean or the maximum",
        choices=("mean", "max"),
    )
    classifier_bias: bool | None = option(None, "the classifier has a bias")
    logit_scale: float | None = option(None, "factor of the logits", **POSITIVE)
    classifier_std: float | None = option(
        None,
        "scale the classifier's initial weights to this standard deviation; not given: leave them",
        **POSITIVE,
    )
    init: str = option(
        "default",
        "initialisation of the weights of convolutions and classifier; biases: PyTorch's default. "
        "dirac: convolutions pass their first inputs through, other filters and the classifier as "
        "default",
        choices=(
            "default",
            "xavier_uniform",
            "xavier_normal",
            "he_uniform",
            "he_normal",
            "normal",
            "orthogonal",
            "dirac",
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
