"""How fast the feed is, beside FFCV, torchvision, plain tensors and what memory allows.

Every loader reads the same images in batches of 512 and delivers each of them once an epoch,
which is checked; the consumer touches every batch. Loaders take turns, A B A B, on one machine
in one run: a ratio is taken pair by pair, and medians are shown with their extremes. Starts are
measured in processes of their own, with an empty and with a filled compile cache. FFCV and
torchvision run at the best of their settings; torchvision is spared the disk. Without --data it
reads CIFAR-10 or the built-in figures from data/, or draws the figures itself. It writes nothing
but FILE, and temporary files that it removes.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C in the seconds of the imports below
    from engine import signals

    signals.quit_early()

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.loader import against_peers, goals, page
from benchmarks.loader.against_peers import Bench
from benchmarks.loader.determinism import determinism
from benchmarks.loader.files import Files, prepared
from benchmarks.loader.gpu import gpu
from benchmarks.loader.startup import early_exits, starts
from benchmarks.measuring import machine
from benchmarks.measuring.command import check, narrator, run
from benchmarks.measuring.results import Findings
from benchmarks.measuring.turns import SECONDS, TOUCHED_EVERY
from engine import atomic
from engine.config.readers import some_of, whole
from engine.errors import OK, RunFailed
from engine.parser import Parser

PROGRAM = "python -m benchmarks.loader"
BATCH_SIZE = 512
PAIRS, QUICK_PAIRS, QUICK_SAMPLES = 8, 3, 20_000

Section = Callable[[Bench], None]
SECTIONS: dict[str, tuple[Section, tuple[str, ...]]] = {
    "uint8": (against_peers.uint8, ("ratio_uint8_vs_ffcv", "images_per_second_uint8")),
    "float": (against_peers.floats, ("ratio_float_vs_ffcv",)),
    "gather": (
        against_peers.gather,
        ("gather_fraction_of_ceiling", "gather_slowest_pair_vs_ffcv_decode"),
    ),
    "torchvision": (against_peers.torchvision, ("ratio_uint8_vs_torchvision",)),
    "plain": (against_peers.plain, ()),
    "starts": (
        starts,
        (
            "first_batch_seconds_warm",
            "first_batch_seconds_cold",
            "constructor_seconds",
            "epoch_gap_seconds",
        ),
    ),
    "exits": (early_exits, ("leaked",)),
    "determinism": (determinism, ("different_digests", "determinism_cost")),
    "gpu": (gpu, ("gpu_seconds_per_50000", "gpu_share_of_step", "gpu_host_syncs")),
}


def main(argv: Sequence[str]) -> int:
    """The command."""
    asked = _arguments(argv)
    say, load_before = narrator(), machine.load()
    with prepared(asked.data, _samples(asked)) as files:
        bench = _bench(asked, files, say)
        _measure(bench, asked.without)
        conditions = _conditions(bench, load_before)
    say("done")
    judged = goals.judged(bench.found, gpu=asked.device != "cpu")
    if asked.json:
        content = {**bench.found.as_json(), "goals": judged, "conditions": conditions}
        atomic.write_json(Path(asked.json), content)
    sys.stdout.write(page.text(bench.found, judged, conditions))
    return OK


def _bench(asked: argparse.Namespace, files: Files, say: Callable[[str], None]) -> Bench:
    return Bench(
        files=files,
        batch_size=BATCH_SIZE,
        threads=machine.cores(),
        pairs=asked.pairs or (QUICK_PAIRS if asked.quick else PAIRS),
        quick=asked.quick,
        device=asked.device,
        found=Findings(),
        say=say,
    )


def _measure(bench: Bench, without: Sequence[str]) -> None:
    """One section after the other; what is left out is missing, and says why."""
    for name, (section, keys) in SECTIONS.items():
        if name in without or (name == "gpu" and bench.device == "cpu"):
            why = f"left out by --without {name}" if name in without else "needs --device cuda"
            bench.found.missing.update(dict.fromkeys(keys, why))
            continue
        bench.say(f"{name}: {(section.__doc__ or '').splitlines()[0]}")
        try:
            section(bench)
        except RunFailed as error:  # what was found so far, and what follows, is worth its time
            bench.say(f"  failed: {error}")
            for key in keys:
                bench.found.missing.setdefault(key, str(error))


def _conditions(bench: Bench, load_before: float) -> dict[str, Any]:
    """Without these a figure is not a result."""
    return {
        **machine.describe(bench.device),
        "threads": bench.threads,
        "load_before": load_before,
        "load_after": machine.load(),
        "data": bench.files.described,
        "images": bench.files.samples,
        "image_bytes": bench.files.image_bytes,
        "batch_size": bench.batch_size,
        "drop_last": False,
        "pairs": bench.pairs,
        "seconds_of_a_turn": SECONDS,
        "quick": bench.quick,
        "sample_ids": "each loader delivered every id once in its uncounted first epoch",
        "first_batch": "float32, after the imports, the file in the page cache; cold: an empty "
        "compile cache, warm: the cache that a first process left",
        "touched": f"one element in {TOUCHED_EVERY} of every batch, summed, by one consumer",
    }


def _samples(asked: argparse.Namespace) -> int | None:
    if asked.samples is None and asked.quick:
        return QUICK_SAMPLES
    samples: int | None = asked.samples
    return samples


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--json", metavar="FILE", help="write everything that was found to FILE as well")
    add("--quick", action="store_true", help="fewer images and pairs: two minutes; indicative")
    add("--device", default="cpu", metavar="cpu|cuda", help="cuda adds the GPU's figures")
    add("--data", metavar="X.beton", help="the images to feed (raw, of one size)")
    add("--samples", type=whole(1), metavar="N", help="only the first N images (default: all)")
    add("--pairs", type=whole(1), metavar="N", help=f"turns of each comparison (default {PAIRS})")
    add(
        "--without",
        default=(),
        type=some_of(*SECTIONS),
        metavar="SECTION,...",
        help=f"leave out some of: {', '.join(SECTIONS)}",
    )
    asked = parser.parse_args(argv)
    check(asked)
    return asked


if __name__ == "__main__":
    raise SystemExit(run(main))
