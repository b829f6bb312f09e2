"""Learning curves: every run of every experiment, loss and accuracy, axes that can be read."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import plans, runs
from benchmarks.report import curves
from benchmarks.report.curves import ExperimentCurves
from benchmarks.report.plots import panels
from benchmarks.report.plots.learning_curves import Series, learning_curves, run_curve
from benchmarks.report.plots.panels import Line, Panel
from benchmarks.report.plots.style import COLOURS, by_errors, error_ticks
from tests.support.records import plan_entry, record, reported, write_plan, write_run


def curves_in(root: Path) -> list[ExperimentCurves]:
    return curves.experiment_curves(runs.read(root), plans.read(root))


def series_of(root: Path, *contents: dict[str, Any]) -> list[Series]:
    for number, content in enumerate(contents):
        write_run(root, f"r{number}", content)
    return [Series(run.folder, [run]) for run in runs.read(root)]


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_shared_run_is_in_every_experiment_that_plans_it(tmp_path: Path) -> None:
    shared, own = record(seed=0, epochs=3), record(seed=1, epochs=3)
    for number, content in enumerate((shared, own)):
        write_run(tmp_path, f"r{number}", content)
    entries = [plan_entry(shared, "4.1/a/s0"), plan_entry(shared, "4.2/b/s0")]
    write_plan(tmp_path, [*entries, plan_entry(own, "4.2/c/s1")])
    write_plan(tmp_path, entries, sweep="reports")  # the same experiments in another sweep
    found = {
        each.experiment: {series.label: len(series.runs) for series in each.series}
        for each in curves_in(tmp_path)
    }
    assert found == {"4.1": {"a": 1}, "4.2": {"b": 1, "c": 1}}


def test_forty_settings_have_forty_lines_the_best_and_the_reported_in_colour(
    tmp_path: Path,
) -> None:
    entries = []
    for number in range(40):
        content = record(epochs=3, accuracy=0.5 + number / 100, settings={"optim": {"lr": number}})
        write_run(tmp_path, f"r{number}", content)
        values = [reported(60.0)] if number == 7 else []
        entries.append(plan_entry(content, f"0.8/lr{number}/s0", values=values))
    write_plan(tmp_path, entries)
    (found,) = curves_in(tmp_path)
    plot = learning_curves(found.series, found.heading, "curves-0.8")
    lines = plot.svg.count('class="line"')
    legend = 6 + 1  # and what the grey ones are
    assert lines == 4 * 40 + legend
    assert plot.caption.startswith("40 settings, 40 runs.")
    labels = texts(plot.svg)
    assert "34 more" in labels
    coloured = [label for label in labels if " % lr" in label]
    assert coloured[0] == "89.00 % lr39" and "57.00 % lr7" in coloured
    assert len(coloured) == len(COLOURS)


def test_a_legend_leaves_out_what_all_its_lines_share(tmp_path: Path) -> None:
    plain = series_of(tmp_path, *(record(seed=seed, accuracy=0.9) for seed in range(3)))
    shared = tuple(f"augment.setting{number}=1" for number in range(9))
    named = [replace(s, settings=(*shared, f"optim.lr={n}")) for n, s in enumerate(plain)]
    labels = [text for text in texts(learning_curves(named, "t", "p").svg) if "%" in text]
    legend = [label for label in labels if "accuracy" not in label]
    assert legend == [f"90.00 % r{number}, optim.lr={number}" for number in range(3)]


def test_an_accuracy_of_100_per_cent_has_a_tick(tmp_path: Path) -> None:
    content = record(epochs=9, accuracy=0.99)
    lines = [{"epoch": n, "train_accuracy": 1 - 0.6**n} for n in range(1, 9)]
    write_run(tmp_path, "r", content, [*lines, {"epoch": 9, "train_accuracy": 1.0}])
    (run,) = runs.read(tmp_path)
    assert "100" in texts(learning_curves([Series("r", [run])], "t", "p").svg)
    ticks = error_ticks(0, 100, 0.1)
    places = [by_errors(tick) for tick in ticks]
    assert ticks[0] == 100
    assert min(a - b for a, b in itertools.pairwise(places)) >= 0.1 * (places[0] - places[-1])


def test_the_seeds_of_a_setting_are_one_line_with_a_band(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, f"s{seed}", record(seed=seed, epochs=3, accuracy=0.9 + seed / 100))
    plot = learning_curves([Series("all", runs.read(tmp_path))], "t", "p")
    assert plot.caption.startswith("1 setting, 3 runs.")
    assert plot.svg.count("fill-opacity") == 4  # training and test, loss and accuracy
    (mean,) = [
        y for e, y, *_ in Series("all", runs.read(tmp_path)).curve("test_accuracy", 9) if e == 3
    ]
    assert mean == pytest.approx(0.91)


def test_one_setting_has_all_kinds_of_images_in_the_same_axes(tmp_path: Path) -> None:
    (series,) = series_of(tmp_path, record(epochs=3))
    assert {"loss", "accuracy (%)", "training", "test"} <= set(
        texts(learning_curves([series], "t", "p").svg)
    )
    curve = run_curve(series.runs[0])
    assert curve is not None
    assert "var(--c0)" in curve and COLOURS[0] not in curve


def test_several_settings_have_a_panel_for_each_kind_of_images(tmp_path: Path) -> None:
    contents = [record(seed=seed, epochs=3, validation_images=seed * 9) for seed in range(3)]
    shown = texts(learning_curves(series_of(tmp_path, *contents), "t", "p").svg)
    for split in ("training", "validation", "test"):
        assert {f"{split} loss", f"{split} accuracy (%)"} <= set(shown)


@pytest.mark.parametrize("last", [1, 2, 3, 7, 30, 200, 523, 12_000])
def test_epochs_are_whole_numbers_with_room_between_them(last: int) -> None:
    points = [(float(epoch), 1.0) for epoch in range(1, last + 1)]
    svg = panels.figure([[Panel("loss", [Line(points)], accuracy=False)] * 3], [])
    ticks = re.findall(r'<text x="([0-9.]+)" y="142.0" text-anchor="middle">([\d,]+)</text>', svg)
    assert len(ticks) >= 3
    per_panel = ticks[: len(ticks) // 3]
    ends = [(float(x) - 2.4 * len(word), float(x) + 2.4 * len(word)) for x, word in per_panel]
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
    assert all(1 <= int(word.replace(",", "")) <= last for _, word in per_panel)


@pytest.mark.parametrize(
    ("values", "accuracy", "some", "none"),
    [
        ([90.0, 96.0], True, {"90", "92", "94", "96"}, {"0"}),
        ([70.0, 96.0], True, {"70", "85", "92", "96"}, {"75", "99"}),  # spaced by errors
        ([20.0, 50.0], True, {"20", "30", "40", "50"}, {"92"}),
        ([0.002, 2.3], False, {"1", "0.1", "0.01"}, {"0"}),  # spaced by logarithms
        ([0.5, 2.3], False, {"0.5", "1", "2"}, {"0.1"}),
        ([10.0, 10.0], True, {"10"}, set()),
    ],
)
def test_ticks_suit_the_range_and_keep_their_distance(
    values: list[float], accuracy: bool, some: set[str], none: set[str]
) -> None:
    line = Line([(float(epoch), value) for epoch, value in enumerate(values, start=1)])
    svg = panels.figure([[Panel("t", [line], accuracy)]], [])
    ticks = re.findall(r'y="([0-9.]+)" text-anchor="end">([^<]+)</text>', svg)
    assert some <= {word for _, word in ticks}
    assert not none & {word for _, word in ticks}
    heights = sorted(float(y) for y, _ in ticks)
    assert all(high - low > 9 for low, high in itertools.pairwise(heights))
