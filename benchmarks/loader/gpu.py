"""The section of `--device cuda`: the fused kernel's time, its share of a step, host syncs.

An epoch's launches are one CUDA graph, as a training step has them in one, so that the host's
launches cost nothing; events around its replay time it. Before it the second-level cache is emptied
of the images, by reading: what is written would be left there, to be written back in the time of
the kernel. The share is of the step that users train with: augmented, compiled and graphed.
"""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.loader.peers import kind_of, ours, plain_tensors
from benchmarks.measuring import replayed
from benchmarks.measuring.data import MEAN, PADDING, SEED, STD
from benchmarks.measuring.turns import Spread
from engine.config.schema import Config, Data, Model, Run, Runtime, Train
from engine.data.augment import cpu
from engine.data.augment.gpu import augment
from engine.data.loader import Batch
from engine.data.sets import open_sets
from engine.data.transform import Transform
from engine.runs.state import State
from engine.step import device as devices

BATCH_SIZES = (128, 256, 512, 1024)
DTYPES = (torch.uint8, torch.bfloat16)
JUDGED = ("bfloat16", 1024)  # the goal applies to this one
IMAGES = 50_000  # times are for this many
PASSES, WARM_UP = 7, 3
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
    """Augmenting 50,000 images in batches of `size`: the time of all launches, several times."""
    device, count = images.device, len(images)
    scale, shift = (each.tolist() for each in cpu.scale_and_shift(MEAN, STD))
    transform = Transform(crop_padding=PADDING)
    shape = (size, *images.shape[1:])
    out = torch.empty(shape, dtype=dtype, device=device).permute(0, 3, 1, 2)
    order = torch.arange(count, device=device)
    epoch = torch.zeros((), dtype=torch.int64, device=device)

    def launch(ids: Tensor) -> None:
        part = out[: len(ids)]
        augment(images, ids, ids, transform, SEED, epoch, dtype, scale, shift, out=part)

    work = replayed.recorded([partial(launch, ids) for ids in torch.split(order, size)], device)
    read = replayed.reader(device)

    def before() -> None:
        order.copy_(torch.randperm(count, device=device))
        epoch.add_(1)
        read()

    replayed.timed(work, device, WARM_UP, before)
    each = replayed.timed(work, device, passes, before)
    return Spread(tuple(seconds * IMAGES / count for seconds in each))


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


def step_seconds(path: Path, device: str, network: str, size: int, steps: int) -> float:
    """A step of `network` as users train it, augmentation included: the mean of many."""
    config = Config(
        data=Data(train=str(path), test=str(path)),
        model=Model(name=network, budget=0),
        train=Train(batch_size=size),
        runtime=Runtime(device=device),
        run=Run(root=tempfile.gettempdir()),  # nothing is written there
    )
    machine = devices.prepare(config.runtime)
    state = State(config, machine, open_sets(config, machine.device))
    batches = (batch for epoch in itertools.count() for batch in _whole_batches(state, epoch))
    for batch in itertools.islice(batches, WARM_STEPS):
        state.advance(batch)

    def train() -> None:
        for batch in itertools.islice(batches, steps):
            state.advance(batch)

    (seconds,) = replayed.timed(train, machine.device, 1)
    return seconds / steps


def _whole_batches(state: State, epoch: int) -> Iterator[Batch]:
    """The batches of an epoch without a short last one."""
    state.counters.step_in_epoch = 0
    yield from itertools.islice(state.epoch(epoch), max(1, state.steps_of_epoch(epoch) - 1))


def _share_of_step(bench: LoaderBenchmark) -> None:
    table = bench.results.details.setdefault("gpu_step_seconds", {})
    shares = []
    kernel = bench.results.details["gpu_seconds_per_50000"]["bfloat16"]
    for size in STEP_BATCHES:
        bench.say(f"  a step of {NETWORK} at batch {size}: compiling, then {STEPS} steps")
        seconds = step_seconds(bench.files.source, bench.device, NETWORK, size, STEPS)
        table[str(size)] = Spread((seconds,)).as_json()
        shares.append(kernel[str(size)]["median"] * size / IMAGES / seconds)
    bench.results.figure("gpu_share_of_step", max(shares))
