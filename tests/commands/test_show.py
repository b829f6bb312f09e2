"""What the command shows without training."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine import train
from engine.model import VARIANTS
from tests.support.data import Files
from tests.support.paths import ROOT
from tests.support.runs import Call


@pytest.mark.parametrize(
    ("variant", "total"), [("se_resnet443", 4_697_742), ("resnet18", 11_173_962)]
)
def test_a_config_describes_its_network(call: Call, variant: str, total: int) -> None:
    config = str(ROOT / "configs" / f"{variant}.yaml")
    code, out, err = call(train.main, "--config-file", config, "--describe")
    assert (code, err) == (0, "")
    described = json.loads(out)
    assert described["variant"] == variant
    assert described["parameters"]["total"] == total


def test_the_description_counts_the_classes_of_the_data(files: Files, call: Call) -> None:
    _, out, _ = call(train.main, "--model.name", "resnet1111", "--describe", *files.flags())
    assert json.loads(out)["parameters"]["classifier"] == 512 * 4 + 4


def test_a_network_is_described_layer_by_layer(files: Files, call: Call) -> None:
    argv = ("--model.name", "se_resnet443", "--describe", "--format", "table")
    code, out, err = call(train.main, *argv)
    assert (code, err) == (0, "")
    first, *_ = [line for line in out.splitlines() if line.startswith("Conv2d-1 ")]
    assert first.split()[1:7] == ["64", "x", "32", "x", "32", "1,728"]
    assert "parameters: 4,697,742" in out and "total 37.06" in out
    _, out, _ = call(train.main, *argv, *files.flags())
    assert any(line.split()[:3] == ["Linear-68", "4", "1,028"] for line in out.splitlines())


def test_a_network_is_drawn_as_svg(call: Call) -> None:
    argv = ("--model.name", "resnet453", "--model.dropout", "0.3", "--describe", "--format=svg")
    code, out, err = call(train.main, *argv)
    assert (code, err) == (0, "")
    root = ElementTree.fromstring(out)
    title = root.findtext("{http://www.w3.org/2000/svg}title")
    assert title is not None and title.startswith("resnet453_drop0.3: 4,992,586 parameters")


def test_json_is_the_default_form_of_a_description(call: Call) -> None:
    argv = ("--model.name", "resnet453", "--describe")
    assert call(train.main, *argv) == call(train.main, *argv, "--format", "json")


def test_a_wrong_form_or_one_without_a_description_is_refused(call: Call) -> None:
    code, out, err = call(
        train.main, "--model.name", "resnet453", "--describe", "--format", "tabel"
    )
    assert (code, out) == (2, "")
    assert "--format: expected json, table or svg, found tabel; did you mean table?" in err
    for other in ((), ("--list",), ("--dry-run",)):
        code, out, err = call(train.main, "--model.name", "resnet453", "--format", "svg", *other)
        assert (code, out) == (2, "")
        assert "--format" in err and "expected --describe with it" in err


def test_all_variants_are_listed(call: Call) -> None:
    code, out, err = call(train.main, "--list")
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(VARIANTS)
    _, out, _ = call(train.main, "--list", "--json")
    rows = json.loads(out)
    assert {row["variant"] for row in rows} == set(VARIANTS)
    assert all({"parameters", "flops", "config"} <= row.keys() for row in rows)


def test_a_pattern_lists_what_it_matches(call: Call) -> None:
    _, out, _ = call(train.main, "--list", "resnet224*")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert names == ["resnet224", "resnet224_w64_128_250", "resnet224_w64_130_251"]
    for pattern, message in (
        ("resnet45", "did you mean resnet453"),
        ("*zz*", "no variant matches"),
    ):
        code, _, err = call(train.main, "--list", pattern)
        assert code == 2
        assert message in err


def test_the_printed_configuration_has_origins_and_reads_back(call: Call, tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "quickstart.yaml")
    argv = ["--config-file", config, "--train.epochs", "7", "--print-config"]
    _, first, _ = call(train.main, *argv, "--optim.eps", "1e-12")
    assert "epochs: 7  # --train.epochs" in first
    assert "eps: 1.0e-12  # --optim.eps" in first
    assert "  # default" in first
    assert "quickstart.yaml, line" in first
    merged = tmp_path / "merged.yaml"
    merged.write_text(first)
    code, second, _ = call(train.main, "--config-file", str(merged), "--print-config")
    assert code == 0

    def values(text: str) -> list[str]:
        return [line.split("#")[0].rstrip() for line in text.splitlines()]

    assert values(second) == values(first)


def test_problems_of_settings_and_network_come_together(call: Call, tmp_path: Path) -> None:
    code, out, err = call(
        train.main, "--train.epoch", "3", "--optim.lr", "nan", "--model.name", "resnet454",
        "--run.root", tmp_path / "runs",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "--train.epoch" in err and "did you mean" in err
    assert "optim.lr" in err
    assert "resnet453" in err
    assert not (tmp_path / "runs").exists()


def test_without_a_network_both_ways_to_give_one_are_named(call: Call) -> None:
    code, _, err = call(train.main)
    assert code == 2
    assert "model.name" in err and "model.blocks" in err and "[2, 2, 2]" in err
