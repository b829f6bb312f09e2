"""The layer table is the built network's, module by module, and report 002's, row by row."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from engine.model import VARIANTS, ResNet, Variant, budget
from engine.model.blocks import Block, Convolution, PooledConvolution, SqueezeExcite, Whitening
from engine.model.layer_table import layer_rows, layer_table
from tests.support.paths import SHARED

OTHERS = {
    "pre-activation, SE in blocks": Variant((2, 1), (16, 32), preactivation=True, se="block"),
    "dropout in blocks": Variant((1, 2), (16,), dropout=0.2, dropout_place="block"),
    "dropout, small pool": Variant((1, 1), (8,), dropout=0.3, pool=8, stem_kernel=5),
    "max pool, even kernels": Variant((1, 1, 1), (8,), (2, 3, 4), (2,), skip="maxpool"),
    "whitening, strided": Variant((1, 1), (8,), stem="whiten", activation="silu"),
}
NAMES: dict[type[nn.Module], str] = {
    Convolution: "Conv2d", Whitening: "Conv2d", SqueezeExcite: "SEBlock", Block: "BasicBlock",
    PooledConvolution: "Conv2d",
}  # fmt: skip
SILENT = (nn.Sequential, ResNet, nn.ReLU, nn.GELU, nn.SiLU)


@pytest.mark.parametrize("name", [*VARIANTS, *OTHERS])
def test_parameters_and_flops_are_the_closed_form(name: str) -> None:
    variant = (VARIANTS | OTHERS)[name]
    rows = layer_rows(variant)
    assert sum(row.parameters for row in rows) == budget.parameters(variant).total
    assert sum(row.flops for row in rows) == budget.flops(variant).forward


@pytest.mark.parametrize("name", ["se_resnet443", "resnet22222_maxpool_skip", "house94", *OTHERS])
def test_modules_of_the_built_network_put_out_what_the_rows_say(name: str) -> None:
    variant = (VARIANTS | OTHERS)[name]
    network = ResNet(variant).eval()
    seen: list[tuple[str, tuple[int, ...], int]] = []

    def note(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        own = isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))
        count = sum(p.numel() for p in module.parameters()) if own else 0
        kind = NAMES.get(type(module), type(module).__name__)
        seen.append((kind, tuple(output.shape[1:]), count))

    for module in network.modules():
        if not isinstance(module, SILENT):
            module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    rows = [
        (row.name.rpartition("-")[0], row.output, row.parameters) for row in layer_rows(variant)
    ]
    functional = {"AdaptiveAvgPool2d", "ReLU", "Sigmoid"}  # in our SE unit, functions
    # The order of a skip path beside a block is a matter of taste; what there is is not.
    assert sorted(row for row in rows if row[0] not in functional) == sorted(seen)


def test_the_table_of_report_002_is_reproduced_row_by_row() -> None:
    reports = list((SHARED / "reports").glob("002_*.txt"))
    if not reports:
        pytest.skip("the reports are not in ../shared/reports")
    text = reports[0].read_text("utf-8")
    printed = re.findall(r"^(\w+-\d+)\t\[-1, ([\d, ]+)\]\t([\d,]+)$", text, re.MULTILINE)
    assert len(printed) == 68
    ours = layer_rows(VARIANTS["se_resnet443"])
    assert [(row.name, row.output, row.parameters) for row in ours] == [
        (name, tuple(map(int, shape.split(", "))), int(count.replace(",", "")))
        for name, shape, count in printed
    ]


def test_the_totals_are_those_of_report_002() -> None:
    text = layer_table(VARIANTS["se_resnet443"])
    assert "parameters: 4,697,742" in text
    assert "input 0.01, forward and backward 19.13, parameters 17.92, total 37.06" in text
    assert text.startswith("layer ") and "64 x 32 x 32" in text
