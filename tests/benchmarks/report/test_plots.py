"""The plots: groups of runs, fronts, axes, and SVGs that share a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.records import runs
from benchmarks.records.conditions import Conditions
from benchmarks.records.plans import SweepPlans
from benchmarks.report import content
from benchmarks.report.error_analysis import Allowance
from benchmarks.report.groups import RunGroup, run_groups
from benchmarks.report.plots import scatters
from benchmarks.report.plots.style import INK, Plot, log_ticks, short, style
from tests.support.records import record, write_run


def groups_in(root: Path) -> list[RunGroup]:
    return run_groups(runs.read(root), SweepPlans())


def test_seeds_make_one_group_and_settings_several(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, f"a{seed}", record(seed=seed, accuracy=0.95 + seed / 1000))
    other = {"optim": {"lr": 0.3}}
    write_run(tmp_path, "b", record(accuracy=0.9, settings=other))
    write_run(tmp_path, "c", record(accuracy=0.8, precision="fp32"))
    write_run(tmp_path, "d", record(seed=5) | {"status": "running"})
    groups = groups_in(tmp_path)
    counts = {(g.conditions.precision, g.accuracy.n): g.accuracy.mean for g in groups}
    assert counts == {
        ("bf16", 3): pytest.approx(95.1),
        ("bf16", 1): pytest.approx(90.0),
        ("fp32", 1): pytest.approx(80.0),
    }


def drawn(name: str, tmp_path: Path) -> Plot:
    for number, variant in enumerate(("resnet453", "resnet2111_w16")):
        write_run(tmp_path / name, f"r{number}", record(variant, accuracy=0.9 + number / 100))
    with style():
        plot = scatters.against_parameters(groups_in(tmp_path / name), Conditions(), name)
    assert plot is not None
    return plot


def test_a_sweep_of_small_runs_is_drawn_in_its_own_units_and_far_from_the_limit(
    tmp_path: Path,
) -> None:
    flops = {"forward": 1e6, "training": 3e6}
    for number in range(4):
        more = {"flops": flops, "params": 78_042 + number // 3, "accuracy": 0.2 + number / 100}
        write_run(tmp_path, f"r{number}", record(settings={"optim": {"lr": number}}, **more))
    with style():
        of_all = scatters.against_parameters(groups_in(tmp_path), Conditions(), "p")
        of_one_size = scatters.against_parameters(groups_in(tmp_path)[:3], Conditions(), "p")
        work = scatters.against_work(groups_in(tmp_path), Conditions(), "w")
    assert of_one_size is None and of_all is not None and work is not None
    assert "the limit of the reports" not in of_all.svg
    assert ">TFLOPs of training<" in work.svg and "TFLOPs count" in work.caption


def test_names_of_points_lie_over_no_point(tmp_path: Path) -> None:
    for number in range(60):
        more = {"params": int(1e6 * 1.03**number), "accuracy": 0.94 + number / 4000}
        settings = {"optim": {"lr": number / 10}}
        write_run(tmp_path, f"r{number}", record(settings=settings, **more))
    with style():
        plot = scatters.against_parameters(groups_in(tmp_path), Conditions(), "p")
    assert plot is not None
    marks = [
        (float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="(.*?)" y="(.*?)"', plot.svg)
    ]
    labels = re.findall(r'text-anchor: (start|end)[^>]*x="(.*?)" y="(.*?)"[^>]*>(.*?)<', plot.svg)
    named = [label for label in labels if label[3] == "resnet453"]
    assert len(marks) > 60 and named
    for anchor, end, bottom, name in named:
        width = 4 * len(name)
        left, y = float(end) - width * (anchor == "end"), float(bottom)
        assert not [m for m in marks if left < m[0] < left + width and y - 7 < m[1] < y]


def test_the_front_is_listed_by_size_without_what_a_smaller_network_beats(tmp_path: Path) -> None:
    for variant, accuracy in (
        ("resnet453", 0.95),
        ("resnet2111_w32", 0.94),
        ("resnet1111", 0.93),
        ("resnet2111_w16", 0.9),
    ):
        write_run(tmp_path, variant, record(variant, accuracy=accuracy))
    with style():
        plot = scatters.against_parameters(groups_in(tmp_path), Conditions(), "p")
    assert plot is not None
    assert plot.alt.endswith("On the Pareto front: resnet2111_w16, resnet2111_w32, resnet453.")


def test_a_plot_is_the_same_bytes_and_shares_no_id_with_another(tmp_path: Path) -> None:
    one, again, other = (drawn(n, tmp_path / str(k)) for k, n in enumerate(("p1", "p1", "p2")))
    assert one.svg == again.svg
    ids = [set(re.findall(r'id="([^"]+)"', plot.inline)) for plot in (one, other)]
    assert ids[0] and ids[0].isdisjoint(ids[1])
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one.inline))
    assert used <= ids[0]


def test_a_plot_on_the_page_has_a_label_and_the_themes_colours(tmp_path: Path) -> None:
    plot = drawn("p1", tmp_path)
    assert 'role="img" aria-label="Scatter plot of 2 networks with their recipes' in plot.inline
    assert "var(--ink)" in plot.inline and INK not in plot.inline
    assert "<metadata" not in plot.inline


def test_data_sets_of_one_name_keep_the_plots_of_each(tmp_path: Path) -> None:
    for number, digest in enumerate("abc"):
        write_run(
            tmp_path / "runs", digest, record(data_digests={"test": digest * 64}, seed=number)
        )
    nowhere = tmp_path / "nowhere"
    report = content.read(tmp_path / "runs", nowhere, nowhere, Allowance(0.0), notify=str)
    assert [len(plots) for plots in report.overview.values()] == [2, 2, 2]
    assert len({plot.name for plot in report.plots}) == len(report.plots) == 9


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (280, 710, [300, 400, 500, 600, 700]),
        (4.88e6, 5.05e6, [4.9e6, 4.95e6, 5e6, 5.05e6]),
        (290, 5200, [500, 1000, 2000, 5000]),
        (0.5, 3e6, [1, 10, 100, 1000, 1e4, 1e5, 1e6]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_and_apart(
    low: float, high: float, ticks: list[float]
) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0.5, 12, 999, 1234, 12_345, 2.5e6, 3.1e9)] == [
        "0.5", "12", "999", "1,234", "12.3 k", "2.5 M", "3.1 G",
    ]  # fmt: skip
