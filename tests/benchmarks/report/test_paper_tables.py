"""The reports' tables, made again from `configs/`, are those that the reports print."""

from __future__ import annotations

import re

import pytest

from benchmarks.report.paper_tables import PaperTable, paper_tables
from benchmarks.report.tables_page import main
from engine.errors import run_command
from engine.model import VARIANTS
from engine.model.layer_table import layer_rows
from tests.support.paths import ROOT
from tests.support.processes import python, succeed

TABLE_4_OF_000 = """
Number of residual layers | 3 | 4
Number of residual blocks | [4, 4, 3] | [2, 2, 2, 2]
Convolutional kernel sizes | [3, 3, 3] | [3, 3, 3, 3]
Shortcut kernel sizes | [1, 1, 1] | [1, 1, 1, 1]
Number of channels | [64, 128, 256] | [64, 128, 256, 512]
Average pool kernel size | 8 | 4
Batch normalization | True | True
Dropout | 0 | 0
Squeeze and excitation | True | False
Gradient clip | 0.1 | None
Data augmentation | True | False
Data normalization | True | False
Lookahead | True | False
Optimizer | SGD | SGD
Learning rate (lr) | 0.1 | 0.1
lr scheduler | CosineAnnealingLR | CosineAnnealingLR
Weight decay | 0.0005 | 0.0005
Batch size | 128 | 128
Total number of parameters | 4,697,742 | 11,173,962
"""
TABLE_1_OF_001 = """
1 | 84.8% | 1.9M | 4 | [2,2,2,2] | [16,32,64,128] | 5 | 1 | 4
2 | 86.6% | 2.79M | 4 | [2,2,2,2] | [32,64,128,256] | 3 | 1 | 4
3 | 91.78% | 4.9M | 4 | [1,1,1,1] | [64,128,256,512] | 3 | 1 | 4
4 | 89.10% | 4.9M | 4 | [1,1,1,1] | [64,128,256,512] | 3 | 1 | 3
5 | 88.43% | 5.4M | 4 | [1,1,1,1] | [64,128,256,512] | 3 | 2 | 4
6 | 90.70% | 4.9M | 4 | [4,6,4,3] | [32,64,128,256] | 3 | 1 | 4
7 | 90.93% | 4.99M | 4 | [5,7,4,3] | [32,64,128,256] | 3 | 1 | 4
"""  # but for the blocks of row 5, printed as [2,2,2,2], which its 5.4M contradict
TABLE_1_OF_004 = """
ResNet-18 | [2,2,2,2] | 11,173,962 | 93.02% |
Model 1 | [1,1,1,1] | 4,903,242 | 94.35% |
Model 2 | [2,2,4] | 5,139,018 | 95.46% |
Model 3 | [2,2,4] | 4,939,902 | 95.03% |
Model 4 | [2,2,4] | 4,993,025 | 95.43% |
Model 5 | [4,5,3] | 4,992,586 | 95.66% | √
"""
TABLE_2_OF_004 = """
Conv1 | 64 × 32 × 32 | kernel size: 3 × 3, output channel: 64, stride=1
Layer1 | 64 × 32 × 32 | [3 × 3, 64; 3 × 3, 64] × 4
Layer2 | 128 × 16 × 16 | [3 × 3, 128; 3 × 3, 128] × 5
Layer3 | 256 × 8 × 8 | [3 × 3, 256; 3 × 3, 256] × 3
Avg_pool | 256 | pool size 8 × 8
Linear | 10 | input channel 256, output channel 10
"""


@pytest.fixture(scope="module")
def tables() -> dict[str, PaperTable]:
    """By report and the first words of the title."""
    return {f"{table.report} {table.title.partition(':')[0]}": table for table in paper_tables()}


def cells(printed: str) -> list[tuple[str, ...]]:
    """Rows of a table, without spaces within a cell."""
    lines = printed.strip().splitlines()
    return [tuple(re.sub(r"\s", "", cell) for cell in line.split("|")) for line in lines]


def without_spaces(table: PaperTable) -> list[tuple[str, ...]]:
    return [tuple(re.sub(r"\s", "", cell) for cell in row) for row in table.rows]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("000 Table 4", TABLE_4_OF_000),
        ("004 Table 1", TABLE_1_OF_004),
        ("004 Table 2", TABLE_2_OF_004),
    ],
)
def test_a_table_is_the_printed_one(name: str, printed: str, tables: dict[str, PaperTable]) -> None:
    assert without_spaces(tables[name]) == cells(printed)
    assert all(len(row) == len(tables[name].head) for row in tables[name].rows)


def test_table_1_of_report_001_is_the_printed_one_with_exact_parameters(
    tables: dict[str, PaperTable],
) -> None:
    rows = without_spaces(tables["001 Table 1"])
    for row, printed in zip(rows, cells(TABLE_1_OF_001), strict=True):
        assert row[:2] + row[3:] == printed[:2] + printed[3:]
        digits = len(printed[2].partition(".")[2]) - 1
        millions = int(row[2].replace(",", "")) / 1e6
        assert printed[2] == f"{int(millions * 10**digits) / 10**digits}M"  # cut off, not rounded


def test_the_layers_of_report_002_have_its_68_rows_and_its_totals(
    tables: dict[str, PaperTable],
) -> None:
    table = tables["002 Figure 2"]
    assert len(table.rows) == 68
    for row, layer in zip(table.rows, layer_rows(VARIANTS["se_resnet443"]), strict=True):
        assert row[0] == layer.name and row[2] == f"{layer.parameters:,}"
    assert table.rows[0][:3] == ("Conv2d-1", "[-1, 64, 32, 32]", "1,728")
    assert "parameters: 4,697,742" in table.note and "total 37.06" in table.note


def test_the_page_in_docs_is_the_one_that_its_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(main, []) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "tables.md").read_text("utf-8")


def test_the_tables_and_the_plans_behind_them_need_no_torch() -> None:
    program = (
        "import sys, benchmarks.report.__main__; from benchmarks.report import paper_tables; "
        "print(len(paper_tables.paper_tables()), sorted({'torch', 'numba'} & {*sys.modules}))"
    )
    assert succeed(*python("-c", program)) == "5 []\n"
