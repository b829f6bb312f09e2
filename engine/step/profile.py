"""Where the time of a step goes: `--profile` makes some steps under torch's profiler.

The speed is measured first, without the profiler and its overhead; the shares come from as many
steps with it. On a GPU they are of the time without it, as the profiler makes gaps between the
kernels of a graph but hardly prolongs them. It writes `trace.json` (for chrome://tracing or
ui.perfetto.dev), `table.txt` and `profile.json`.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function, schedule
from torch.profiler import profile as profiler

from engine import atomic
from engine.step.device import Machine
from engine.step.rates import matmul_peak
from engine.step.trace import AUGMENTATION, Breakdown, breakdown

Advance = Callable[[], int]  # makes one step; returns its number of images

WARM_UP = 12  # steps at most before anything is timed: kernels are chosen, graphs recorded
SECONDS = 1.0  # steps of at least this long are timed, and as many profiled
FEWEST, MOST = 3, 20
LONGEST = 12  # kernels listed in the table
NAME = 72  # characters of a kernel's name in the table


@dataclass(frozen=True)
class Profile:
    """The speed of some steady steps and where their time went."""

    device: str
    precision: str
    steps: int
    images: int
    images_per_second: float  # without the profiler
    tflops: float  # of the network alone
    peak_tflops: float  # of a large matrix product, measured
    peak_memory_bytes: int  # on a GPU all that torch reserved, with the memory of the graphs
    allocated_bytes: int | None  # on a GPU: the peak of tensors, but for those within graphs
    spent: Breakdown

    @property
    def utilisation(self) -> float:
        """The share of the measured peak that the network reached."""
        return self.tflops / self.peak_tflops

    def as_json(self) -> dict[str, Any]:
        """All fields, with only the longest of the kernels."""
        content = asdict(self) | {"utilisation": self.utilisation}
        content["spent"]["longest"] = content["spent"]["longest"][:LONGEST]
        return content


def profile(
    advance: Advance,
    machine: Machine,
    flops: float,
    folder: Path | None = None,
    *,
    seconds: float = SECONDS,
) -> Profile:
    """Profile steps made by `advance`, of `flops` operations per image; write files to `folder`."""
    count = _warm_up(advance, machine, seconds)
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)
    machine.wait()
    began = time.perf_counter()
    images = sum(advance() for _ in range(count))
    machine.wait()
    passed = time.perf_counter() - began
    memory, allocated = _peak_memory(machine)
    content = _traced(advance, machine, count)
    spent = breakdown(json.loads(content)["traceEvents"])
    result = Profile(
        device=machine.name(),
        precision=machine.precision,
        steps=count,
        images=images,
        images_per_second=images / passed,
        tflops=flops * images / passed / 1e12,
        peak_tflops=matmul_peak(machine) / 1e12,
        peak_memory_bytes=memory,
        allocated_bytes=allocated,
        spent=spent if machine.device.type == "cpu" else spent.within(passed),
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(folder / "trace.json", content)
        atomic.write_json(folder / "profile.json", result.as_json())
        atomic.write_text(folder / "table.txt", table(result))
    return result


def feeding(batches: Callable[[int], Iterator[Any]]) -> Iterator[Any]:
    """The batches of one epoch after another, with an annotation for the profiler."""
    epoch = 0
    while True:
        batch: Any = None
        iterator = batches(epoch)
        while True:
            with record_function(AUGMENTATION):
                batch = next(iterator, None)
            if batch is None:
                break
            yield batch
        epoch += 1


def table(result: Profile) -> str:
    """The profile as readable text."""
    spent, steps, device = result.spent, result.steps, f"{result.device}, {result.precision}"
    on_gpu = result.allocated_bytes is not None
    memory = f"peak memory {result.peak_memory_bytes / 2**20:,.0f} MiB"
    if result.allocated_bytes is not None:
        memory += f" reserved, {result.allocated_bytes / 2**20:,.0f} by tensors outside the graphs"
    lines = [
        f"{device}: {steps} steps of {result.images / steps:,.0f} images",
        f"{result.images_per_second:,.0f} images/s without the profiler: {result.tflops:.3g} "
        f"TFLOP/s, {100 * result.utilisation:.1f} % of the measured {result.peak_tflops:.3g} of a "
        "matrix product",
        memory,
        "",
        f"{'with the profiler':<29}{'ms per step':>11}{'share':>8}",
    ]
    whole = "all, without the profiler" if on_gpu else "all"
    rows = [*spent.seconds.items(), ("idle", spent.idle), (whole, spent.wall)]
    for group, seconds in rows:
        share = seconds / spent.wall if spent.wall else 0.0
        lines.append(f"{group:<29}{1e3 * seconds / steps:>11.3f}{100 * share:>7.1f}%")
    lines += ["", f"{'ms per step':>11}  {'calls':>6}  the longest"]
    for name, group, seconds, calls in spent.longest[:LONGEST]:
        kind = f"{name[:NAME]}  ({group})"
        lines.append(f"{1e3 * seconds / steps:>11.3f}  {calls / steps:>6.1f}  {kind}")
    return "\n".join(lines) + "\n"


def _warm_up(advance: Advance, machine: Machine, seconds: float) -> int:
    """Step until kernels are chosen and graphs recorded; returns how many steps take `seconds`."""
    times = []
    began = time.perf_counter()
    for number in range(WARM_UP):
        at = time.perf_counter()
        advance()
        machine.wait()
        times.append(time.perf_counter() - at)
        slow = time.perf_counter() - began > 3 * seconds
        if slow and number >= FEWEST and machine.device.type == "cpu":
            break
    return max(FEWEST, min(MOST, round(seconds / min(times))))


def _traced(advance: Advance, machine: Machine, steps: int) -> bytes:
    """A chrome trace of `steps` steps, after one that absorbs the profiler's start."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # else it reports on stderr that there is no GPU
    activities = [ProfilerActivity.CPU]
    if machine.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    plan = schedule(wait=0, warmup=1, active=steps, repeat=1)
    with profiler(activities=activities, schedule=plan, record_shapes=True, acc_events=True) as run:
        for number in range(1 + steps):
            advance()
            if number in (0, steps):  # the trace has the kernels of its steps, and no others
                machine.wait()
            run.step()
    return _exported(run)


def _exported(run: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        path = Path(folder) / "trace.json"
        run.export_chrome_trace(str(path))
        return path.read_bytes()


def _peak_memory(machine: Machine) -> tuple[int, int | None]:
    """Bytes: on a GPU those reserved and those of tensors, on a CPU those of the whole process.

    A replayed graph uses memory of its own, which only counts as reserved.
    """
    if machine.device.type == "cuda":
        reserved = torch.cuda.max_memory_reserved(machine.device)
        return reserved, torch.cuda.max_memory_allocated(machine.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, None
