"""The sections of the benchmark in which loaders take turns on one file, in this process."""

from __future__ import annotations

import contextlib
from types import ModuleType

import torch

from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.loader.peers import kind_of, memory_ceiling, ours, plain_tensors
from benchmarks.loader.turns import FeedTurns
from benchmarks.measuring.results import Unavailable
from benchmarks.measuring.turns import fastest, spread_of

TRIAL_SAMPLES = 10_240  # of torchvision's settings: enough to find the best one
TRIAL_ROUNDS = 2


def uint8(bench: LoaderBenchmark) -> None:
    """Crop and flip to uint8 batches, against FFCV's stock pipeline."""
    with _ffcv(bench, "uint8") as theirs:
        with bench.ours("resident", torch.uint8) as mine:
            pairs = bench.compare("resident uint8 / FFCV uint8", mine, theirs)
        bench.results.figure("ratio_uint8_vs_ffcv", pairs.ratios.median)
        bench.results.figure("images_per_second_uint8", pairs.first.median)
        with bench.ours("resident", torch.uint8, ring=ours.RING) as mine:
            bench.compare("resident uint8, ring / FFCV uint8", mine, theirs)
        with bench.ours("stream", torch.uint8) as mine:
            bench.compare("stream uint8 / FFCV uint8", mine, theirs)


def floats(bench: LoaderBenchmark) -> None:
    """Crop, flip and normalise to float32 and bfloat16, against FFCV normalising to float32."""
    with _ffcv(bench, "float32") as theirs:
        for mode in ours.MODES:
            for dtype in (torch.float32, torch.bfloat16):
                name = f"{mode} {kind_of(dtype)}"
                with bench.ours(mode, dtype) as mine:
                    pairs = bench.compare(f"{name} / FFCV float32", mine, theirs)
                if (mode, dtype) == ("resident", torch.float32):
                    bench.results.figure("ratio_float_vs_ffcv", pairs.ratios.median)
        with bench.ours("resident", torch.float32, ring=ours.RING) as mine:
            bench.compare("resident float32, ring / FFCV float32", mine, theirs)


def gather(bench: LoaderBenchmark) -> None:
    """Raw rows from the file, against FFCV decoding alone and against what memory allows."""
    path, batch_size = bench.files.numbered, bench.batch_size
    copy, array, file = memory_ceiling.ceilings(path, batch_size, bench.threads)
    bench.say("  ceilings: copying, gathering from an array, gathering from the file")
    for ceiling in (copy, array, file):
        bench.results.rate(ceiling.name, ceiling.setting, spread_of(ceiling, bench.pairs))
    raw = memory_ceiling.OurGather(path, batch_size)
    with bench.ready(raw.feed()) as mine:
        pairs = bench.compare("gather / ceiling", raw, memory_ceiling.Faster(array, file))
        bench.results.figure("gather_fraction_of_ceiling", pairs.ratios.median)
        with _ffcv(bench, "decode") as theirs:
            pairs = bench.compare("gather / FFCV decode", mine, theirs)
        bench.results.figure("gather_slowest_pair_vs_ffcv_decode", min(pairs.ratios.values))


def torchvision(bench: LoaderBenchmark) -> None:
    """Crop and flip to uint8, against torchvision at the best of its settings."""
    peers = _torchvision()
    trial = min(TRIAL_SAMPLES, bench.files.samples)
    settings = [(kind, workers) for kind in peers.KINDS for workers in peers.WORKERS]
    with contextlib.ExitStack() as stack:
        turns = []
        for kind, workers in settings:
            few = peers.feed(bench.files.images[:trial], bench.batch_size, kind, workers)
            turns.append(stack.enter_context(bench.ready(few, trial)))
        bench.say(f"  torchvision: which of its {len(turns)} settings is the fastest here")
        best, rates = fastest(turns, 1 if bench.quick else TRIAL_ROUNDS)
    bench.results.details["torchvision_settings"] = {
        "images": trial,
        "images_per_second": {name: rate.as_json() for name, rate in rates.items()},
    }
    kind, workers = settings[turns.index(best)]
    feed = peers.feed(bench.files.images, bench.batch_size, kind, workers)
    with bench.ready(feed) as theirs, bench.ours("resident", torch.uint8) as mine:
        pairs = bench.compare("resident uint8 / torchvision", mine, theirs)
    bench.results.figure("ratio_uint8_vs_torchvision", pairs.ratios.median)


def plain(bench: LoaderBenchmark) -> None:
    """Against whole-epoch tensors with masked crops, as speedruns load their data."""
    for dtype in (torch.uint8, torch.float32):
        kind = kind_of(dtype)
        feed = plain_tensors.feed(bench.files.images, bench.batch_size, dtype)
        with bench.ready(feed) as theirs, bench.ours("resident", dtype) as mine:
            bench.compare(f"resident {kind} / plain tensors {kind}", mine, theirs)


def _torchvision() -> ModuleType:
    try:
        from benchmarks.loader.peers import torchvision_loader
    except (ImportError, RuntimeError) as error:  # RuntimeError: made for another torch
        raise Unavailable(f"torchvision: {error}") from None
    return torchvision_loader


def _ffcv(bench: LoaderBenchmark, kind: str) -> contextlib.AbstractContextManager[FeedTurns]:
    from benchmarks.loader.peers import ffcv_loader

    bench.say(f"  FFCV, {kind}: compiling, and trying how many batches ahead are best")
    feed = ffcv_loader.feed(bench.files.numbered, bench.batch_size, kind, bench.threads)
    return bench.ready(feed)
