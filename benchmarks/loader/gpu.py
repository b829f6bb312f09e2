"""The section of `--device cuda`: the fused kernel's time, its share of a step, host syncs.

The kernel is timed by CUDA events around each launch, with the second-level cache flushed before
it, after warm-up; a flush takes the GPU longer than the host takes to launch, so the GPU never
waits for a launch.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.loader.peers import kind_of, ours, plain_tensors
from benchmarks.measuring.clock import Clock
from benchmarks.measuring.data import MEAN, PADDING, SEED, STD
from benchmarks.measuring.turns import Spread
from engine.config.schema import Config, Model, Runtime
from engine.data.augment import cpu
from engine.data.augment.gpu import augment
from engine.data.loader import Batch
from engine.data.transform import Transform
from engine.model import ResNet, resolve
from engine.optim.schedules import rates
from engine.step import device as devices
from engine.step.training import TrainingStep

BATCH_SIZES = (128, 256, 512, 1024)
DTYPES = (torch.uint8, torch.bfloat16)
JUDGED = ("bfloat16", 1024)  # the goal applies to this one
IMAGES = 50_000  # times are for this many
PASSES, WARM_UP = 7, 3
FLUSH_BYTES = 1 << 29  # ten times the largest cache
NETWORK = "resnet453"
STEP_BATCHES, STEPS, WARM_STEPS = (128, 1024), 30, 10  # each batch size is compiled anew
SYNC = "called a synchronizing CUDA operation"


def gpu(bench: LoaderBenchmark) -> None:
    """All that needs a GPU."""
    device = torch.device(bench.device)
    images = torch.from_numpy(bench.files.images).to(device)
    table = bench.results.details.setdefault("gpu_seconds_per_50000", {})
    for dtype in DTYPES:
        kind = kind_of(dtype)
        bench.say(f"  fused kernel, {kind}: {PASSES} passes at each batch size")
        for size in BATCH_SIZES:
            spread = kernel_seconds(images, size, dtype, PASSES)
            table.setdefault(kind, {})[str(size)] = spread.as_json()
            if (kind, size) == JUDGED:
                bench.results.figure("gpu_seconds_per_50000", spread.median)
    bench.say("  host syncs of two epochs")
    bench.results.figure("gpu_host_syncs", host_syncs(bench, device))
    for dtype in (torch.uint8, torch.bfloat16):
        feed = plain_tensors.feed(bench.files.images, bench.batch_size, dtype, bench.device)
        with bench.ready(feed) as theirs, bench.ours("resident", dtype, bench.device) as mine:
            bench.compare(f"GPU, {kind_of(dtype)}: resident / plain tensors", mine, theirs)
    with bench.missing_if_it_fails("gpu_share_of_step"):  # no memory for it, or no compiler
        _share_of_step(bench)


def kernel_seconds(images: Tensor, size: int, dtype: torch.dtype, passes: int) -> Spread:
    """Augmenting 50,000 images in batches of `size`: the sum over all launches, several times."""
    device, count = images.device, len(images)
    scale, shift = (each.tolist() for each in cpu.scale_and_shift(MEAN, STD))
    transform = Transform(crop_padding=PADDING)
    shape = (size, *images.shape[1:])
    out = torch.empty(shape, dtype=dtype, device=device).permute(0, 3, 1, 2)
    flushed = FLUSH_BYTES if device.type == "cuda" else 1
    cache = torch.empty(flushed, dtype=torch.int8, device=device)
    sums = []
    for number in range(WARM_UP + passes):
        order = torch.randperm(count, device=device)
        clock = Clock(device)
        for ids in torch.split(order, size):
            cache.zero_()
            part = out[: len(ids)]

            def launch(ids: Tensor = ids, part: Tensor = part, epoch: int = number) -> None:
                augment(images, ids, ids, transform, SEED, epoch, dtype, scale, shift, out=part)

            clock.time(launch)
        if number >= WARM_UP:
            sums.append(sum(clock.seconds()) * IMAGES / count)
    return Spread(tuple(sums))


def host_syncs(bench: LoaderBenchmark, device: torch.device) -> int:
    """How often the host waited for the device in a warm epoch, by torch's sync debug mode."""
    with ours.open_loader(
        bench.files.numbered, bench.batch_size, dtype=torch.bfloat16, device=bench.device
    ) as loader:
        for _ in loader.epoch(0):
            pass
        torch.cuda.synchronize(device)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                torch.cuda.set_sync_debug_mode("warn")
                for _ in loader.epoch(1):
                    pass
            finally:
                torch.cuda.set_sync_debug_mode("default")
        syncs = sum(SYNC in str(warning.message) for warning in caught)
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in loader.epoch(2):
                pass
        except RuntimeError as error:
            bench.results.details["gpu_sync_refused"] = str(error).splitlines()[0]
            syncs = max(syncs, 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return syncs


def step_seconds(device: str, network: str, size: int, side: int, steps: int) -> Spread:
    """A training step of `network` as the engine makes it, step by step."""
    config = Config(model=Model(name=network), runtime=Runtime(device=device))
    machine = devices.prepare(config.runtime)
    model = ResNet(resolve(config.model), 10, side=side)
    model.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = TrainingStep(model, config.optim, machine)
    images = torch.randn(size, 3, side, side, device=machine.device)
    batch = Batch(
        images.to(memory_format=torch.channels_last),
        torch.randint(0, 10, (size,), device=machine.device),
    )
    clock = Clock(machine.device)
    for number in range(WARM_STEPS + steps):
        at = rates(config, number, WARM_STEPS + steps)
        if number < WARM_STEPS:
            step(batch, at, number)
        else:
            clock.time(lambda: step(batch, at, number))  # noqa: B023  called at once
    return Spread(tuple(clock.seconds()))


def _share_of_step(bench: LoaderBenchmark) -> None:
    table = bench.results.details.setdefault("gpu_step_seconds", {})
    shares = []
    kernel = bench.results.details["gpu_seconds_per_50000"]["bfloat16"]
    for size in STEP_BATCHES:
        bench.say(f"  a step of {NETWORK} at batch {size}: compiling, then {STEPS} steps")
        spread = step_seconds(bench.device, NETWORK, size, bench.files.images.shape[1], STEPS)
        table[str(size)] = spread.as_json()
        shares.append(kernel[str(size)]["median"] * size / IMAGES / spread.median)
    bench.results.figure("gpu_share_of_step", max(shares))
