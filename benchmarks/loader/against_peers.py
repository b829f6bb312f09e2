"""The sections of the benchmark in which loaders take turns on one file, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch

from benchmarks.loader.files import Files
from benchmarks.loader.peers import Feed, Unavailable, memory_ceiling, ours, plain_tensors
from benchmarks.measuring.results import Findings
from benchmarks.measuring.turns import Contender, Pairs, Turns, fastest, interleave, spread_of

TRIAL_SAMPLES = 10_240  # of torchvision's settings: enough to find the best one
TRIAL_ROUNDS = 2


@dataclass
class Bench:
    """What every section needs."""

    files: Files
    batch_size: int
    threads: int
    pairs: int
    quick: bool
    device: str  # of the GPU's section; all others run on the CPU
    found: Findings
    say: Callable[[str], None]

    @contextlib.contextmanager
    def ready(self, feed: Feed, samples: int | None = None) -> Iterator[Turns]:
        """A feed that is warm and delivers every sample once; closed at the end."""
        try:
            self.say(f"  {feed.name}: warm-up, and a look at what it delivers")
            turns = Turns(feed, self.threads)
            turns.warm_up(self.files.samples if samples is None else samples)
            yield turns
        finally:
            feed.close()

    def compare(self, name: str, first: Contender, second: Contender) -> Pairs:
        """Pairs of turns; the rates of both and their ratio are noted."""
        self.say(f"  {first.name} / {second.name}: {self.pairs} pairs")
        pairs = interleave(first, second, self.pairs)
        for turns, spread in ((first, pairs.first), (second, pairs.second)):
            self.found.rate(turns.name, turns.setting, spread)
        self.found.pairs[name] = pairs
        return pairs

    def ours(
        self, mode: str, dtype: torch.dtype, device: str = "cpu", ring: int = 0
    ) -> contextlib.AbstractContextManager[Turns]:
        """Our loader, ready."""
        path, batch_size = self.files.numbered, self.batch_size
        feed = ours.feed(path, batch_size, mode=mode, dtype=dtype, device=device, ring=ring)
        return self.ready(feed)


def uint8(bench: Bench) -> None:
    """Crop and flip to uint8 batches, against FFCV's stock pipeline."""
    with _ffcv(bench, "uint8") as theirs:
        with bench.ours("resident", torch.uint8) as mine:
            pairs = bench.compare("resident uint8 / FFCV uint8", mine, theirs)
        bench.found.number("ratio_uint8_vs_ffcv", pairs.ratios.median)
        bench.found.number("images_per_second_uint8", pairs.first.median)
        with bench.ours("resident", torch.uint8, ring=ours.RING) as mine:
            bench.compare("resident uint8, ring / FFCV uint8", mine, theirs)
        with bench.ours("stream", torch.uint8) as mine:
            bench.compare("stream uint8 / FFCV uint8", mine, theirs)


def floats(bench: Bench) -> None:
    """Crop, flip and normalise to float32 and bfloat16, against FFCV normalising to float32."""
    with _ffcv(bench, "float32") as theirs:
        for mode in ours.MODES:
            for dtype in (torch.float32, torch.bfloat16):
                name = f"{mode} {str(dtype).removeprefix('torch.')}"
                with bench.ours(mode, dtype) as mine:
                    pairs = bench.compare(f"{name} / FFCV float32", mine, theirs)
                if (mode, dtype) == ("resident", torch.float32):
                    bench.found.number("ratio_float_vs_ffcv", pairs.ratios.median)
        with bench.ours("resident", torch.float32, ring=ours.RING) as mine:
            bench.compare("resident float32, ring / FFCV float32", mine, theirs)


def gather(bench: Bench) -> None:
    """Raw rows from the file, against FFCV decoding alone and against what memory allows."""
    path, batch_size = bench.files.numbered, bench.batch_size
    copy, array, file = memory_ceiling.ceilings(path, batch_size, bench.threads)
    bench.say("  ceilings: copying, gathering from an array, gathering from the file")
    for ceiling in (copy, array, file):
        bench.found.rate(ceiling.name, ceiling.setting, spread_of(ceiling, bench.pairs))
    raw = memory_ceiling.OurGather(path, batch_size)
    with bench.ready(raw.feed()) as mine:
        pairs = bench.compare("gather / ceiling", raw, memory_ceiling.Faster(array, file))
        bench.found.number("gather_fraction_of_ceiling", pairs.ratios.median)
        with _ffcv(bench, "decode") as theirs:
            pairs = bench.compare("gather / FFCV decode", mine, theirs)
        bench.found.number("gather_slowest_pair_vs_ffcv_decode", min(pairs.ratios.values))


def torchvision(bench: Bench) -> None:
    """Crop and flip to uint8, against torchvision at the best of its settings."""
    with bench.found.missing_if_unavailable("ratio_uint8_vs_torchvision"):
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
        bench.found.details["torchvision_settings"] = {
            "images": trial,
            "images_per_second": {name: rate.as_json() for name, rate in rates.items()},
        }
        kind, workers = settings[turns.index(best)]
        feed = peers.feed(bench.files.images, bench.batch_size, kind, workers)
        with bench.ready(feed) as theirs, bench.ours("resident", torch.uint8) as mine:
            pairs = bench.compare("resident uint8 / torchvision", mine, theirs)
        bench.found.number("ratio_uint8_vs_torchvision", pairs.ratios.median)


def plain(bench: Bench) -> None:
    """Against whole-epoch tensors with masked crops, as speedruns load their data."""
    for dtype in (torch.uint8, torch.float32):
        kind = str(dtype).removeprefix("torch.")
        feed = plain_tensors.feed(bench.files.images, bench.batch_size, dtype)
        with bench.ready(feed) as theirs, bench.ours("resident", dtype) as mine:
            bench.compare(f"resident {kind} / plain tensors {kind}", mine, theirs)


def _torchvision() -> ModuleType:
    try:
        from benchmarks.loader.peers import torchvision_loader
    except (ImportError, RuntimeError) as error:  # RuntimeError: made for another torch
        raise Unavailable(f"torchvision: {error}") from None
    return torchvision_loader


def _ffcv(bench: Bench, kind: str) -> contextlib.AbstractContextManager[Turns]:
    from benchmarks.loader.peers import ffcv_loader

    bench.say(f"  FFCV, {kind}: compiling, and trying how many batches ahead are best")
    feed = ffcv_loader.feed(bench.files.numbered, bench.batch_size, kind, bench.threads)
    return bench.ready(feed)
