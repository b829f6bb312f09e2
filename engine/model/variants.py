"""The table of networks: a `Variant` is all that tells two networks apart.

A new network is a new row; `--list`, `--describe`, the tests and the benchmarks pick it up. The
sweep files also name networks by their parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

PER_LAYER = ("blocks", "widths", "conv_kernels", "skip_kernels")


class Layer(NamedTuple):
    """One residual layer: `blocks` blocks, the first with the stride and the projection.

    Where the transition is a pool, it precedes the blocks, and all of them are of one size.
    """

    blocks: int
    before: int  # input channels
    width: int  # output channels
    kernel: int
    skip_kernel: int
    stride: int  # 1 in the first layer, 2 in the others; of a pool always 2
    projects: bool  # whether the first block's skip path has a convolution


@dataclass(frozen=True)
class Variant:
    """The parts of a residual network; the fields are those of `model.*` in a configuration.

    Lists have one entry per layer. A single entry holds for all layers; a single width doubles
    from layer to layer.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64,)
    conv_kernels: tuple[int, ...] = (3,)
    skip_kernels: tuple[int, ...] = (1,)
    pool: int | str = "global"
    se: str = "none"  # none, stem or block
    se_reduction: int = 16
    skip: str = "conv"  # conv or maxpool
    preactivation: bool = False
    stem_kernel: int = 3
    stem_stride: int = 1
    dropout: float = 0.0
    dropout_place: str = "classifier"  # classifier or block
    stem: str = "conv"  # conv or whiten
    transition: str = "stride"  # stride or pool
    activation: str = "relu"  # relu, gelu or silu
    norm_scale: bool = True
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    pool_kind: str = "mean"  # mean or max
    classifier_bias: bool = True
    logit_scale: float = 1.0

    def __post_init__(self) -> None:
        depth = len(self.blocks)
        if len(self.widths) == 1:
            object.__setattr__(self, "widths", doubled(self.widths[0], depth))
        for name in ("conv_kernels", "skip_kernels"):
            if len(kernels := getattr(self, name)) == 1:
                object.__setattr__(self, name, kernels * depth)
        if depth == 0 or {len(getattr(self, name)) for name in PER_LAYER} != {depth}:
            raise ValueError(f"every list needs one entry per layer: {self}")

    @property
    def stem_width(self) -> int:
        """The channels after the stem; a whitening stem has two per value of a colour patch."""
        return 2 * 3 * self.stem_kernel**2 if self.stem == "whiten" else self.widths[0]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The residual layers, first to last.

        All but the first project, and after a whitening stem that one does as well; where the
        transition is a pool, none does.
        """
        before = (self.stem_width, *self.widths)
        others = len(self.blocks) - 1
        pools = self.transition == "pool"
        strides = (2 if pools else 1, *(2,) * others)
        projects = (self.stem == "whiten" and not pools, *(not pools,) * others)
        columns = zip(
            self.blocks, before, self.widths, self.conv_kernels, self.skip_kernels, strides,
            projects, strict=False,
        )  # fmt: skip
        return tuple(Layer(*column) for column in columns)


def doubled(width: int, depth: int) -> tuple[int, ...]:
    """The widths of `depth` layers, each twice as wide as the one before."""
    return tuple(width << layer for layer in range(depth))


class Row(NamedTuple):
    """A row of the table; a test recomputes the parameters, so that they cannot be wrong."""

    variant: Variant
    parameters: int  # for 10 classes
    source: str
    final: bool = False  # whether it is a report's final network


HOUSE: dict[str, Any] = {  # the parts of networks for short runs, besides blocks and widths
    "stem": "whiten",
    "stem_kernel": 2,
    "transition": "pool",
    "activation": "gelu",
    "norm_scale": False,
    "norm_eps": 1e-12,
    "norm_momentum": 0.4,
    "pool_kind": "max",
    "classifier_bias": False,
    "logit_scale": 1 / 384,  # for a classifier of unit deviation: model.classifier_std 1
}

# fmt: off
# ruff: noqa: E501
ROWS: dict[str, Row] = {
    # the final networks of the five reports, and their baseline
    "se_resnet443":                Row(Variant((4, 4, 3), se="stem"),                                              4_697_742, "reports 000 and 002, final", final=True),
    "resnet4643_w32":              Row(Variant((4, 6, 4, 3), (32,)),                                               4_902_186, "report 001, table 1, row 6 (final)", final=True),
    "resnet22222_maxpool_skip":    Row(Variant((2,) * 5, (64, 128, 144, 192, 256), skip="maxpool", stem_stride=2), 4_960_874, "report 003, final", final=True),
    "resnet453":                   Row(Variant((4, 5, 3)),                                                         4_992_586, "report 004, model 5 (final)", final=True),
    "resnet18":                    Row(Variant((2, 2, 2, 2)),                                                     11_173_962, "reports 000 and 004, baseline"),
    # earlier networks of the reports
    "resnet443":                   Row(Variant((4, 4, 3)),                                                         4_697_162, "report 000, final without SE"),
    "resnet2222_w16_k5":           Row(Variant((2, 2, 2, 2), (16,), (5,)),                                         1_922_074, "report 001, table 1, row 1"),
    "resnet2222_w32":              Row(Variant((2, 2, 2, 2), (32,)),                                               2_797_610, "report 001, table 1, row 2"),
    "resnet1111":                  Row(Variant((1, 1, 1, 1)),                                                      4_903_242, "report 001, table 1, row 3; report 004, model 1; report 000, depth 4"),
    "resnet1111_pool3":            Row(Variant((1, 1, 1, 1), pool=3),                                              4_903_242, "report 001, table 1, row 4"),
    "resnet1111_skip2":            Row(Variant((1, 1, 1, 1), skip_kernels=(2,)),                                   5_419_338, "report 001, table 1, row 5 (blocks as its count has them)"),
    "resnet5743_w32":              Row(Variant((5, 7, 4, 3), (32,)),                                               4_994_730, "report 001, table 1, row 7"),
    "resnet2222_w64_192_192_256":  Row(Variant((2,) * 4, (64, 192, 192, 256), stem_stride=2),                      4_901_962, "report 003, four layers"),
    "resnet22222":                 Row(Variant((2,) * 5, (64, 128, 144, 192, 256), stem_stride=2),                 4_960_874, "report 003, five layers before the max pool (it prints 4,960,234)"),
    "resnet224":                   Row(Variant((2, 2, 4)),                                                         5_139_018, "report 004, model 2"),
    "resnet224_w64_128_250":       Row(Variant((2, 2, 4), (64, 128, 250)),                                         4_939_902, "report 004, model 3"),
    "resnet224_w64_130_251":       Row(Variant((2, 2, 4), (64, 130, 251)),                                         4_993_025, "report 004, model 4"),
    # the families of report 000
    "resnet11":                    Row(Variant((1, 1)),                                                              307_274, "report 000, depth 2"),
    "resnet111":                   Row(Variant((1, 1, 1)),                                                         1_227_594, "report 000, depth 3"),
    "resnet2111":                  Row(Variant((2, 1, 1, 1)),                                                      4_977_226, "report 000, depth 4 and width 64"),
    "se_resnet2111":               Row(Variant((2, 1, 1, 1), se="stem"),                                           4_977_806, "report 000, width 64 with SE"),
    "resnet2111_w16":              Row(Variant((2, 1, 1, 1), (16,)),                                                 313_498, "report 000, width 16"),
    "resnet2111_w32":              Row(Variant((2, 1, 1, 1), (32,)),                                               1_247_530, "report 000, width 32"),
    "resnet2111_w48":              Row(Variant((2, 1, 1, 1), (48,)),                                               2_802_106, "report 000, width 48"),
    "resnet211_skip1":             Row(Variant((2, 1, 1)),                                                         1_301_578, "report 000, skip kernel 1"),
    "resnet211_skip3":             Row(Variant((2, 1, 1), skip_kernels=(3,)),                                      1_629_258, "report 000, skip kernel 3 and convolution kernel 3"),
    "resnet211_skip5":             Row(Variant((2, 1, 1), skip_kernels=(5,)),                                      2_284_618, "report 000, skip kernel 5"),
    "resnet211_skip7":             Row(Variant((2, 1, 1), skip_kernels=(7,)),                                      3_267_658, "report 000, skip kernel 7"),
    "resnet211_skip9":             Row(Variant((2, 1, 1), skip_kernels=(9,)),                                      4_578_378, "report 000, skip kernel 9"),
    "resnet211_k5_skip3":          Row(Variant((2, 1, 1), conv_kernels=(5,), skip_kernels=(3,)),                   3_857_482, "report 000, convolution kernel 5"),
    # for 94 and 95 % in minutes
    "house94":                     Row(Variant((1, 1, 1), (64, 256, 384), **HOUSE),                                4_961_976, "configs/house94.yaml"),
    "house95":                     Row(Variant((1, 1, 1), (128, 256, 352), **HOUSE),                               4_846_648, "configs/house95.yaml"),
    # the quickstart's: trains in a minute on two CPU cores
    "resnet111_w16":               Row(Variant((1, 1, 1), (16,)),                                                     78_042, "configs/quickstart.yaml"),
}
# fmt: on

VARIANTS: dict[str, Variant] = {name: row.variant for name, row in ROWS.items()}
