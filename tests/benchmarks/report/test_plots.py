"""What the plots rest on: fronts, designs, traffic, and SVGs that live together on a page."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.records import runs as run_files
from benchmarks.records.conditions import Conditions
from benchmarks.report.designs import designs, pareto
from benchmarks.report.plots import learning_curves, scatters
from benchmarks.report.plots.style import INK, Plot, short, style
from benchmarks.report.plots.traffic import traffic
from engine.model import VARIANTS, ResNet
from engine.model.blocks import Block
from tests.support.records import record, write_run


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_beats_in_both(seed: int) -> None:
    draw = random.Random(seed)
    points = [(draw.randint(1, 9), draw.randint(1, 9)) for _ in range(12)]
    front = pareto(points)
    best = {
        (a, b)
        for a, b in points
        if not any(x <= a and y >= b and (x, y) != (a, b) for x, y in points)
    }
    assert {points[i] for i in front} == best
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_seeds_make_one_design_and_settings_several(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, f"a{seed}", record(seed=seed, accuracy=0.95 + seed / 1000))
    other = {"optim": {"lr": 0.3}}
    write_run(tmp_path, "b", record(accuracy=0.9, settings=other))
    write_run(tmp_path, "c", record(accuracy=0.8, precision="fp32"))
    write_run(tmp_path, "d", record(seed=5) | {"status": "running"})
    found = designs(run_files.read(tmp_path), {}, {})
    counts = {(d.conditions.precision, d.accuracy.n): d.accuracy.mean for d in found}
    assert counts == {
        ("bf16", 3): pytest.approx(95.1),
        ("bf16", 1): pytest.approx(90.0),
        ("fp32", 1): pytest.approx(80.0),
    }


@pytest.mark.parametrize("name", ["resnet453", "resnet1111", "resnet22222_maxpool_skip"])
def test_traffic_is_what_a_networks_parts_move(name: str) -> None:
    variant = VARIANTS[name]
    network = ResNet(variant, 10, side=32).eval()
    moved = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        if isinstance(module, nn.Conv2d):
            images = inputs[0].shape[1] == 3  # nothing is computed for them, and they are few
            moved += 3 * (output.numel() + (0 if images else inputs[0].numel()))
        elif isinstance(module, nn.BatchNorm2d):
            moved += (3 + 5) * output.numel()
        elif isinstance(module, Block):
            moved += 2 * (2 + 3) * output.numel() + 6 * output.numel()  # activations, the sum
        elif isinstance(module, nn.ReLU):
            moved += (2 + 3) * output.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    assert traffic(variant) == pytest.approx(moved, rel=0.12)


def drawn(name: str, tmp_path: Path) -> Plot:
    for number, variant in enumerate(("resnet453", "resnet2111_w16")):
        write_run(tmp_path / name, f"r{number}", record(variant, accuracy=0.9 + number / 100))
    runs = run_files.read(tmp_path / name)
    with style():
        plot = scatters.against_parameters(designs(runs, {}, {}), Conditions(), name)
    assert plot is not None
    return plot


def test_a_plot_is_the_same_bytes_and_shares_no_id_with_another(tmp_path: Path) -> None:
    one, again, other = (drawn(n, tmp_path / str(k)) for k, n in enumerate(("p1", "p1", "p2")))
    assert one.svg == again.svg
    ids = [set(re.findall(r'id="([^"]+)"', plot.inline)) for plot in (one, other)]
    assert ids[0] and ids[0].isdisjoint(ids[1])
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one.inline))
    assert used <= ids[0]


def test_a_plot_on_the_page_has_words_and_the_themes_colours(tmp_path: Path) -> None:
    plot = drawn("p1", tmp_path)
    assert 'role="img" aria-label="Scatter plot of 2 designs' in plot.inline
    assert "var(--ink)" in plot.inline and INK not in plot.inline
    assert "<metadata" not in plot.inline


def test_wide_accuracies_are_spaced_by_errors_and_narrow_ones_are_not(tmp_path: Path) -> None:
    def ticks(accuracies: list[float]) -> list[str]:
        root = tmp_path / str(accuracies)
        for number, accuracy in enumerate(accuracies):
            write_run(root, f"r{number}", record(accuracy=accuracy, epochs=4))
        runs = run_files.read(root)
        with style():
            plot = learning_curves.learning_curves(runs, "t", "p", [run.folder for run in runs])
        return re.findall(r">(\d+(?:\.\d+)?)</text>", plot.svg)

    assert {"92", "94", "95", "96"} <= set(ticks([0.96, 0.9]))
    assert not {"92", "95"} & set(ticks([0.5, 0.2]))


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0.5, 12, 999, 1234, 12_345, 2.5e6, 3.1e9)] == [
        "0.5", "12", "999", "1,234", "12.3 k", "2.5 M", "3.1 G",
    ]  # fmt: skip
