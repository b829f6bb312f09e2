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
from benchmarks.step.peers.ours import Ours, with_settings
from engine import train
from engine.config.schema import Config, Runtime
from engine.step import profile, rates
from tests.support.data import Files
from tests.support.runs import Call

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
    both = [calls["forward"], calls["input gradient"]]
    assert len(layer.seconds(both, torch.device("cpu"), 3).values) == 3


def test_a_gpu_has_more_operands_of_the_layer_than_its_cache_holds() -> None:
    cuda = torch.device("cuda")
    own = 2 * 2 * 128 * layer.CHANNELS * layer.SIDE**2
    assert layer.rotating(128, cuda) * own >= layer.OPERAND_BYTES
    assert layer.rotating(4096, cuda) == layer.FEWEST
    assert layer.rotating(128, torch.device("cpu")) == 1


def test_the_sections_of_a_gpu_fill_their_tables(
    bench: StepBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "MODES", {"eager": EAGER, "none": Runtime(graph=True)})
    monkeypatch.setattr(gpu, "PRECISIONS", ("fp32",))
    monkeypatch.setattr("benchmarks.step.turns.HOST_ROUNDS", 2)
    monkeypatch.setattr(layer, "SIDE", 6)
    monkeypatch.setattr(
        bench,
        "ours",
        lambda workload, runtime=None, **more: Ours(
            workload, EAGER, cache=str(bench.cache), **more
        ),
    )
    variations = (gpu.inputs, gpu.switches, gpu.tuning)
    for section in (gpu.batches, gpu.modes, gpu.precisions, *variations, layer.layer):
        section(bench)
    tables = bench.results.details["tables"]
    assert [row["batch"] for row in tables["ours by batch size"]] == [4, 8]
    for row in tables["ours by batch size"]:
        assert row["images/s"] > 0 and 0 <= row["idle"] < 1 and row["of peak"] > 0
        assert row["us of the host a step"] > 0 and row["convolution"] > 0
    assert [row["what"] for row in tables["ours by mode"]] == ["eager", "none"]
    assert len(tables["ours by precision"]) == 1
    assert [row["what"] for row in tables["ours by input"]] == ["resident", "stream"]
    assert [row["what"] for row in tables["ours by switch"]] == ["defaults", "loss_kernel false"]
    assert [row["what"] for row in tables["ours by search"]] == ["defaults", "autotune_limit 0"]
    kernels = bench.results.details["kernels"]["4"]
    assert len(kernels) > profile.LONGEST  # all of them
    assert all(row["us a step"] >= 0 and row["calls a step"] > 0 for row in kernels)
    assert [row["pass"] for row in tables[layer.TITLE]] == [
        "forward", "input gradient", "weight gradient"
    ]  # fmt: skip
    assert {"idle_share", "host_seconds"} <= bench.results.figures.keys()
    assert bench.results.missing == {}


def test_a_whole_run_is_compared_with_the_scaled_epochs_of_the_reports_loop(
    bench: StepBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {
        "wall_seconds": 30.0, "without_compiling_seconds": 20.0, "test_accuracy": 0.5,
        "split": {"training": 24.0, "evaluation": 6.0},
    }  # fmt: skip
    monkeypatch.setattr(whole_runs.whole_run, "run", lambda *args, **options: run)
    monkeypatch.setattr(reports_loop, "epochs", lambda workload, count: [90.0, 20.0][:count])
    whole_runs.whole(bench)
    shares = [row["share"] for row in bench.results.details["tables"]["a whole run"]]
    assert shares == [0.8, 0.2]
    whole_runs.reports(bench)
    assert bench.results.figures == {
        "whole_seconds": 30.0, "whole_seconds_without_compiling": 20.0, "whole_test_accuracy": 0.5,
        "reports_loop_seconds_scaled": 60.0, "whole_ratio_vs_reports_loop_scaled": 2.0,
    }  # fmt: skip
    assert bench.results.missing == {}


def test_short_runs_show_what_the_end_of_an_epoch_takes_with_each_switch(
    bench: StepBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[tuple[str, ...]] = []

    def run(*words: str, **options: Any) -> dict[str, Any]:
        flags.append(words[3:])
        split = {"training": 3.0, "checkpoint": 0.3}
        return {"epochs": 3, "usual_epoch_seconds": 1.1, "split": split}

    monkeypatch.setattr(whole_runs.whole_run, "run", run)
    whole_runs.boundaries(bench)
    rows = bench.results.details["tables"]["an epoch of short runs"]
    assert [row["what"] for row in rows] == list(whole_runs.BOUNDARIES)[:2]  # quick
    assert rows[0]["checkpoint, ms"] == pytest.approx(100.0)
    bench.quick = False
    whole_runs.boundaries(bench)
    assert len(flags) == 2 + len(whole_runs.BOUNDARIES)
    assert "--runtime.copy_at_once" in flags[-1] and "--runtime.copy_at_once" not in flags[0]


@pytest.mark.parametrize("name", ["INPUTS", "SWITCHES", "TUNING"])
def test_every_variation_of_ours_is_a_setting_of_the_engine(name: str) -> None:
    table: dict[str, dict[str, Any]] = getattr(gpu, name)
    plain = Config()
    changed = [with_settings(plain, settings) for settings in table.values() if settings]
    assert changed and all(config != plain for config in changed)


@pytest.mark.parametrize("flags", whole_runs.BOUNDARIES.values())
def test_every_variation_of_a_short_run_is_one_of_the_engine(
    flags: str, files: Files, call: Call
) -> None:
    words = ["--model.name", "resnet11", *files.flags(), *flags.split(), "--print-config"]
    assert call(train.main, *words)[0] == 0


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
