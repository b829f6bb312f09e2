"""The sections of the step's benchmark for any device: pairs of trainers, a second start."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.measuring import child
from benchmarks.step import startup_child
from benchmarks.step.benchmark import StepBenchmark
from benchmarks.step.peer_process import PeerProcess

RATIOS = {"plain": "ratio_vs_plain", "ffcv": "ratio_vs_ffcv_style"}
START_AT_MOST = 400.0  # seconds of a fresh process


def pairs(bench: StepBenchmark) -> None:
    """Ours and a plain loop in turns, then ours and an FFCV-style loop, for each network."""
    for variant in bench.variants:
        with bench.missing_if_it_fails(f"ratio_vs_plain {variant}"):
            _pairs_of(bench, variant)


def second_start(bench: StepBenchmark) -> None:
    """A fresh process with what an earlier one compiled: from its start to its first step."""
    workload, cache = bench.workload(bench.network), bench.cache / "starts"
    task = asdict(workload) | {"path": str(workload.path), "cache": str(cache)}
    with bench.missing_if_it_fails("second_start_seconds"):
        starts = {}
        for name in ("first", "second"):
            bench.say(f"  {bench.network}, the {name} start, in a process of its own")
            starts[name], _ = child.answer(
                startup_child.__name__, task, cache=cache, seconds=START_AT_MOST
            )
        bench.results.details["starts"] = {"variant": bench.network, **starts}
        seconds = starts["second"]["process_to_first_step_seconds"]
        bench.results.figure("second_start_seconds", seconds)


def _pairs_of(bench: StepBenchmark, variant: str) -> None:
    workload = bench.workload(variant)
    bench.say(f" {variant}, batch {workload.batch_size}")
    with bench.peer("ours", workload) as mine:
        bench.results.figure("compile_seconds", max(0.0, mine.warm.extra), variant)
        starts = bench.results.details.setdefault("first_steps", {})
        starts[variant] = {"setting": mine.setting, **asdict(mine.warm)}
        for kind, key in RATIOS.items():
            with bench.peer(kind, workload) as theirs:
                name, prefix = f"{mine.name} / {theirs.name}", f"{variant}: "
                pairs = bench.compare(prefix + name, mine, theirs, prefix)
                bench.results.figure(key, pairs.ratios.median, variant)
                bench.save()
        _note_speed(bench, variant, mine)


def _note_speed(bench: StepBenchmark, variant: str, mine: PeerProcess) -> None:
    """The median of all turns of ours, and what it is of the measured matrix product."""
    rate = bench.results.all_rates()[f"{variant}: {mine.name}"].median
    flops, peak = rate * mine.facts.flops, mine.peak()
    bench.results.figure("images_per_second", rate, variant)
    bench.results.figure("tflops", flops / 1e12, variant)
    bench.results.figure("utilisation", flops / peak, variant)
    peaks = bench.results.details.setdefault("matmul_peak_tflops", {})
    peaks[variant] = {"precision": mine.facts.precision, "tflops": peak / 1e12}
