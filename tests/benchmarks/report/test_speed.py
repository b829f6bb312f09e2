"""The benchmark files of machines, as a report reads and draws them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.report import speed
from tests.support.pages import check_page
from tests.support.paths import ROOT


def test_the_benchmarks_are_drawn_with_their_ratios(
    tmp_path: Path, report_of: Callable[..., str]
) -> None:
    step = {
        "ratio_vs_plain": {"resnet453": 2.2},
        "images_per_second": {"resnet453": 70.0},
        "tflops": {"resnet453": 0.37},
        "goals": [{"goal": "S1", "what": "times plain", "wanted": "at least 2.5x", "unit": "x",
                   "measured": 2.2, "verdict": "missed"}],
        "missing": {},
        "details": {
            "matmul_peak_tflops": {"resnet453": {"precision": "bf16", "tflops": 0.8}},
            "pairs": {"resnet453: ours / plain PyTorch": {
                "ratio": {"median": 2.2, "min": 2.0, "max": 2.4, "values": [2.2]},
                "first": [70.0, 71.0], "second": [32.0, 33.0]}},
        },
        "conditions": {"cpu": "A CPU", "threads": 2},
    }  # fmt: skip
    folder = tmp_path / "results" / "machine"
    folder.mkdir(parents=True)
    (folder / "step.json").write_text(json.dumps(step))
    source = ROOT / "benchmarks" / "results" / "cpu-2-cores" / "loader.json"
    (folder / "loader.json").write_text(source.read_text())
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text("{}")
    text = report_of("--benchmarks", str(tmp_path / "results"))
    check_page(text)
    for words in (
        "14.6× (13.4 to 16)", "2.2× (2 to 2.4)", "The step is the bottleneck", "46% of the peak",
        "matrix product, measured: 0.8 TFLOP/s", "machine/broken.json: not readable", "A CPU",
    ):  # fmt: skip
        assert words in text, words


def test_parts_measured_on_a_gpu_are_read_and_rehearsals_are_not(tmp_path: Path) -> None:
    goal = {"goal": "G1", "what": "augmenting", "wanted": "at most 0.25 ms", "unit": "ms"}
    feed = {
        "ratio_uint8_vs_ffcv": None,
        "goals": [goal | {"measured": 0.0002, "verdict": "met"}],
        "details": {"gpu_seconds_per_50000": {"bfloat16": {"128": {"median": 0.0002}}}},
        "conditions": {"gpu": "A GPU"},
    }
    step = {
        "ratio_vs_plain": {},
        "goals": [goal | {"measured": None, "verdict": "not measured"}],
        "details": {"tables": {"ours by mode": [{"what": "eager", "images/s": 12345.6}]}},
        "conditions": {"gpu": "A GPU", "quick": True},
    }
    folder = tmp_path / "gpu"
    folder.mkdir()
    for name, result in (("a-step", step), ("feed", feed)):
        part = {"part": name, "status": "done", "rehearsal": False, "result": result}
        (folder / f"{name}.json").write_text(json.dumps(part))
    tiny = {"part": "tiny", "rehearsal": True, "result": feed | {"conditions": {"gpu": "tiny"}}}
    (folder / "tiny.json").write_text(json.dumps(tiny))
    (results,) = speed.read(tmp_path, [])
    assert results.feed == {"bfloat16, batch 128": pytest.approx(2.5e8)}
    assert [(each["measured"], each["verdict"]) for each in results.goals] == [("0.2 ms", "met")]
    assert results.tables == {"ours by mode": [{"what": "eager", "images/s": "12,346"}]}
    assert ["indicative only" in line for line in results.conditions] == [True, False]
