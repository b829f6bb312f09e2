"""The sections of the step's benchmark: tables of a GPU, whole runs, goals and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measuring.turns import Pairs, Spread
from benchmarks.step import gpu, layer, page, whole_runs
from benchmarks.step.benchmark import StepBenchmark
from benchmarks.step.goals import KEYS, QUICKSTART
from benchmarks.step.peers import reports_loop
from benchmarks.step.peers.ours import Ours
from engine.config.schema import Runtime
from engine.step import profile, rates
from tests.support.data import Files

EAGER = Runtime(compile=False, precision="fp32")


@pytest.fixture
def bench(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepBenchmark:
    monkeypatch.setitem(rates.PRODUCT, "cpu", 32)
    monkeypatch.setattr(profile, "MOST", 3)
    return StepBenchmark(
        path=files.train, device="cpu", threads=1, batch_size=4, variants=(QUICKSTART,), pairs=2,
        seconds=0.001, quick=True, cache=tmp_path, target=None, say=lambda _: None,
    )  # fmt: skip


def test_the_passes_of_the_layer_are_those_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "SIDE", 6)
    drawn: list[torch.Tensor] = []
    plain_randn = torch.randn

    def randn(*shape: int, **options: Any) -> torch.Tensor:
        drawn.append(plain_randn(*shape, **options))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn", randn)
    torch.manual_seed(0)
    calls = layer.passes(2, torch.float32, torch.device("cpu"))
    images, gradient, weight = drawn
    images.requires_grad_(), weight.requires_grad_()
    out = torch.nn.functional.conv2d(images, weight, padding=1)
    of_images, of_weight = torch.autograd.grad(out, (images, weight), gradient)
    assert torch.allclose(calls["forward"](), out, atol=1e-4)
    assert torch.allclose(calls["input gradient"]()[0], of_images, atol=1e-4)
    assert torch.allclose(calls["weight gradient"]()[1], of_weight, atol=1e-4)
    assert len(layer.seconds(calls["forward"], torch.device("cpu"), 3).values) == 3


def test_the_sections_of_a_gpu_fill_their_tables(
    bench: StepBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "MODES", {"eager": EAGER, "none": Runtime(graph=True)})
    monkeypatch.setattr(gpu, "PRECISIONS", ("fp32",))
    monkeypatch.setattr("benchmarks.step.turns.HOST_ROUNDS", 2)
    monkeypatch.setattr(layer, "SIDE", 6)
    monkeypatch.setattr(
        bench, "ours", lambda workload, runtime=None: Ours(workload, EAGER, cache=str(bench.cache))
    )
    for section in (gpu.batches, gpu.modes, gpu.precisions, layer.layer):
        section(bench)
    tables = bench.results.details["tables"]
    assert [row["batch"] for row in tables["ours by batch size"]] == [4, 8]
    for row in tables["ours by batch size"]:
        assert row["images/s"] > 0 and 0 <= row["idle"] < 1 and row["of peak"] > 0
        assert row["us of the host a step"] > 0 and row["convolution"] > 0
    assert [row["what"] for row in tables["ours by mode"]] == ["eager", "none"]
    assert len(tables["ours by precision"]) == 1
    assert [row["pass"] for row in tables[layer.TITLE]] == [
        "forward", "input gradient", "weight gradient"
    ]  # fmt: skip
    assert {"idle_share", "host_seconds"} <= bench.results.figures.keys()
    assert bench.results.missing == {}


def test_a_whole_run_is_compared_with_the_scaled_epochs_of_the_reports_loop(
    bench: StepBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"wall_seconds": 30.0, "without_compiling_seconds": 20.0, "test_accuracy": 0.5}
    monkeypatch.setattr(whole_runs.whole_run, "run", lambda *args, **options: run)
    monkeypatch.setattr(reports_loop, "epochs", lambda workload, count: [90.0, 20.0][:count])
    whole_runs.whole(bench)
    assert bench.results.figures == {
        "whole_seconds": 30.0, "whole_seconds_without_compiling": 20.0, "whole_test_accuracy": 0.5,
        "reports_loop_seconds_scaled": 60.0, "whole_ratio_vs_reports_loop_scaled": 2.0,
    }  # fmt: skip
    assert bench.results.missing == {}


@pytest.mark.parametrize(
    ("bf16", "ratios", "verdicts"),
    [
        (True, {"resnet453": 2.5, QUICKSTART: 2.9}, ["met", "missed"]),
        (True, {"resnet453": 2.4, QUICKSTART: 3.0}, ["missed", "met"]),
        (False, {"resnet453": 1.1, QUICKSTART: 1.0}, ["met", "missed"]),
    ],
)
def test_the_goal_of_a_cpu_follows_its_units_and_the_network(
    bf16: bool,
    ratios: dict[str, float],
    verdicts: list[str],
    bench: StepBenchmark,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.step.benchmark.has_bf16_units", lambda device: bf16)
    for variant, ratio in ratios.items():
        bench.results.figure("ratio_vs_plain", ratio, variant)
    assert [each["verdict"] for each in bench.goals()] == verdicts


def test_the_goals_of_a_gpu_are_judged_by_what_was_measured(bench: StepBenchmark) -> None:
    bench.device = "cuda"
    bench.results.figure("whole_seconds", 149.0)
    bench.results.figure("host_seconds", 51e-6)
    verdicts = {each["key"]: each["verdict"] for each in bench.goals()}
    assert verdicts["whole_seconds"] == "met"
    assert verdicts["host_seconds"] == "missed"
    assert verdicts["idle_share"] == "not measured"


def test_the_keys_that_stay_hold_a_figure_per_network(bench: StepBenchmark) -> None:
    bench.results.figure("tflops", 2.0, "a")
    bench.results.figure("ratio_vs_ffcv_style", 3.0, "a")
    bench.results.figure("idle_share", 0.5)
    content = bench.as_json()
    assert list(content)[: len(KEYS)] == list(KEYS)
    assert content["tflops"] == {"a": 2.0} and content["ratio_vs_ffcv_style"] == {"a": 3.0}
    assert content["figures"] == {"idle_share": 0.5}
    assert content["ratio_vs_plain"] == {}
    assert content["missing"]["ratio_vs_plain"] == "not measured"


def test_the_page_shows_every_pair_and_goal(bench: StepBenchmark) -> None:
    results = bench.results
    pairs = Pairs(Spread((6.0, 8.0)), Spread((2.0, 2.0)))
    results.pairs["net: ours / plain PyTorch"] = pairs
    results.rate("net: ours", "bf16", pairs.first)
    results.figure("images_per_second", 7.0, "net")
    results.figure("utilisation", 0.5, "net")
    results.figure("ratio_vs_plain", 3.5, "net")
    text = page.text(results, bench.goals(), bench.conditions())
    for words in ("net: ours / plain PyTorch", "3.5x", "bf16", "50.0%", "S1", "met", "indicative",
                  "batch 4, 2 pairs of turns of at least 0.001 s"):  # fmt: skip
        assert words in text, words
