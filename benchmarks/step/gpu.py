"""The sections of the step's benchmark for a GPU: batches, modes and precisions, idle time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.measuring.turns import spread_of
from benchmarks.step.benchmark import StepBenchmark
from benchmarks.step.peers.ours import Ours
from benchmarks.step.turns import StepTurns
from engine.config.schema import Runtime
from engine.step.profile import profile, table
from engine.step.rates import matmul_peak
from engine.step.trace import GROUPS

MODES = {
    "eager": Runtime(compile=False, graph=False),
    "compiled": Runtime(compile=True, graph=False),
    "graphed": Runtime(compile=False, graph=True),
    "compiled and graphed": Runtime(compile=True, graph=True),
    # Inductor gives the convolutions of a network channels_last by itself: what is NCHW here is the
    # weights and the images that it is given, and the graphs between.
    "compiled and graphed, weights in NCHW": Runtime(compile=True, graph=True, channels_last=False),
    "graphed, NCHW": Runtime(compile=False, graph=True, channels_last=False),
}
INPUTS: dict[str, dict[str, Any]] = {
    "resident": {},
    "stream": {"data.mode": "stream"},
    "AutoAugment": {"augment.autoaugment": True},
    "AutoAugment, stream": {"augment.autoaugment": True, "data.mode": "stream"},
    "Cutout, erasing, colours, MixUp": {
        "augment.cutout": 8, "augment.erasing": 0.5, "augment.contrast": 0.2,
        "augment.saturation": 0.2, "augment.mixup": 0.2,
    },
    "exact": {"runtime.exact": True},
}  # fmt: skip
SWITCHES: dict[str, dict[str, Any]] = {  # what the engine saves by each; the defaults come twice
    "defaults": {},
    "loss_kernel false": {"runtime.loss_kernel": False},
    "stem_channels 0": {"runtime.stem_channels": 0},
    "count_together false": {"runtime.count_together": False},
    "autotune false": {"runtime.autotune": False},
    "defaults, again": {},
}
TUNING: dict[str, dict[str, Any]] = {  # what takes longer to compile or to choose
    "defaults": {},
    "autotune_limit 0": {"runtime.autotune_limit": 0},
    "coordinate_descent true": {"runtime.coordinate_descent": True},
}
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


def batches(bench: StepBenchmark) -> None:
    """Ours at several batch sizes: rate, share of the peak, the host's time, the idle share."""
    rates: dict[int, float] = {}
    sizes = bench.sizes if not bench.quick else (bench.batch_size, 2 * bench.batch_size)
    for size in sizes:
        with bench.missing_if_it_fails(f"batch {size}"):
            workload = bench.workload(bench.network, size)
            with bench.ready(f"batch {size}", lambda: bench.ours(workload)) as turns:  # noqa: B023
                row = _measured(bench, turns)
                bench.say(f"  batch {size}: a profile")
                row |= _profiled(bench, turns, judged=size == sizes[0])
            bench.row("ours by batch size", {"batch": size, **row})
            rates[size] = row["images/s"]
    if {128, 1024} <= rates.keys():
        bench.results.figure("rate_of_128_by_1024", rates[128] / rates[1024])


def modes(bench: StepBenchmark) -> None:
    """Ours with parts of the step switched off, at the first batch size."""
    for name, runtime in bench.some(MODES).items():
        if bench.device == "cpu":
            runtime = replace(runtime, graph=False)
        _variation(bench, "ours by mode", name, runtime)


def precisions(bench: StepBenchmark) -> None:
    """Ours in every precision, compiled and graphed."""
    for name in PRECISIONS if not bench.quick else PRECISIONS[::2]:
        runtime = Runtime(precision="fp32" if name == "tf32" else name, tf32=name == "tf32")
        _variation(bench, "ours by precision", name, runtime)


def inputs(bench: StepBenchmark) -> None:
    """Ours with each kind of input and in exact mode, compiled and graphed."""
    for name, settings in bench.some(INPUTS).items():
        _variation(bench, "ours by input", name, Runtime(), settings=settings)


def switches(bench: StepBenchmark) -> None:
    """Ours with the engine's switches for a GPU the other way, one at a time."""
    for name, settings in bench.some(SWITCHES).items():
        _variation(bench, "ours by switch", name, Runtime(), settings=settings)


def tuning(bench: StepBenchmark) -> None:
    """Ours with longer searches for the fastest kernels."""
    for name, settings in bench.some(TUNING).items():
        _variation(bench, "ours by search", name, Runtime(), settings=settings)


def _variation(
    bench: StepBenchmark, title: str, name: str, runtime: Runtime, **settings: Any
) -> None:
    workload = bench.workload(bench.network)
    with bench.missing_if_it_fails(f"{title}: {name}"):
        with bench.ready(name, lambda: bench.ours(workload, runtime, **settings)) as turns:
            row = _measured(bench, turns)
        bench.row(title, {"what": name, **row})


def _measured(bench: StepBenchmark, turns: StepTurns) -> dict[str, Any]:
    trainer = turns.trainer
    assert isinstance(trainer, Ours)
    spread = spread_of(turns, max(3, bench.pairs // 2))
    peak = matmul_peak(trainer.machine)
    return {
        "setting": turns.setting,
        "images/s": spread.median,
        "min": min(spread.values),
        "max": max(spread.values),
        "TFLOP/s": spread.median * trainer.flops / 1e12,
        "of peak": spread.median * trainer.flops / peak,
        "us of the host a step": 1e6 * turns.host_seconds(),
        "first steps, s": turns.warm.extra,
    }


def _profiled(bench: StepBenchmark, turns: StepTurns, *, judged: bool) -> dict[str, Any]:
    """Shares of the time by the profiler; the goals apply to the first batch size."""
    trainer = turns.trainer
    assert isinstance(trainer, Ours)
    profiled = profile(trainer.step, trainer.machine, trainer.flops, seconds=bench.seconds)
    spent = profiled.spent
    idle = spent.idle / spent.wall
    if judged:
        bench.results.figure("idle_share", idle)
        bench.results.figure("host_seconds", turns.host_seconds())
        lines = table(profiled).splitlines()
        bench.results.details["profile"] = {**profiled.as_json(), "table": lines}
    kernels = bench.results.details.setdefault("kernels", {})
    kernels[str(trainer.workload.batch_size)] = [
        {"kernel": name, "group": group, "us a step": 1e6 * seconds / profiled.steps,
         "calls a step": calls / profiled.steps}
        for name, group, seconds, calls in spent.longest
    ]  # fmt: skip
    shares = {group: spent.seconds[group] / spent.wall for group in GROUPS if spent.seconds[group]}
    memory = {"MiB": profiled.peak_memory_bytes / 2**20}
    if profiled.allocated_bytes is not None:
        memory["MiB of tensors"] = profiled.allocated_bytes / 2**20
    return {"idle": idle, **memory, **shares}
