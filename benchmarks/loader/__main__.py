"""How fast the loader is, beside FFCV, torchvision, plain tensors and what memory allows.

Every loader reads the same images in batches of 512 and delivers each of them once per epoch,
which is checked; the consumer touches every batch. Loaders take turns, A B A B, on one machine
in one run: a ratio is taken pair by pair, and medians are shown with their extremes. Starts are
measured in processes of their own, with an empty and with a filled compile cache. FFCV and
torchvision run at the best of their settings; torchvision finds its images in memory. Without
--data it reads CIFAR-10 or the synthetic images from data/, or writes the synthetic ones to a
temporary folder. It writes nothing but FILE and temporary files, which it removes.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C in the seconds of the imports below
    from engine import signals

    signals.quit_early()

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.loader import against_peers, page
from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.loader.determinism import determinism
from benchmarks.loader.files import prepared
from benchmarks.loader.goals import SECTIONS
from benchmarks.loader.gpu import gpu
from benchmarks.loader.startup import early_exits, starts
from benchmarks.measuring import machine
from benchmarks.measuring.command import check, narrator, run
from engine.config.readers import some_of, whole
from engine.errors import OK
from engine.parser import Parser

PROGRAM = "python -m benchmarks.loader"
BATCH_SIZE = 512
PAIRS, QUICK_PAIRS, QUICK_SAMPLES = 8, 3, 20_000

MEASURED_BY: dict[str, Callable[[LoaderBenchmark], None]] = {
    "uint8": against_peers.uint8,
    "float": against_peers.floats,
    "gather": against_peers.gather,
    "torchvision": against_peers.torchvision,
    "plain": against_peers.plain,
    "starts": starts,
    "exits": early_exits,
    "determinism": determinism,
    "gpu": gpu,
}


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    say = narrator()
    with prepared(args.data, args.samples or (QUICK_SAMPLES if args.quick else None)) as files:
        bench = LoaderBenchmark(
            files=files,
            batch_size=BATCH_SIZE,
            threads=machine.cores(),
            pairs=args.pairs or (QUICK_PAIRS if args.quick else PAIRS),
            quick=args.quick,
            device=args.device,
            target=args.json,
            say=say,
        )
        for name, keys in SECTIONS.items():
            if name in args.without:
                bench.results.without(keys, f"left out by --without {name}")
            elif name == "gpu" and args.device == "cpu":
                bench.results.without(keys, "needs --device cuda")
            else:
                bench.run(name, MEASURED_BY[name], *keys)
        bench.save()
        text = page.text(bench.results, bench.goals(), bench.conditions())
    say("done")
    sys.stdout.write(text)
    return OK


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--json", type=Path, metavar="FILE", help="write all results to FILE as well")
    add("--quick", action="store_true", help="fewer images and pairs: two minutes; indicative")
    add("--device", default="cpu", metavar="cpu|cuda", help="cuda adds the GPU's figures")
    add("--data", metavar="X.beton", help="the images to read (raw, of one size)")
    add("--samples", type=whole(1), metavar="N", help="only the first N images (default: all)")
    add("--pairs", type=whole(1), metavar="N", help=f"turns of each comparison (default {PAIRS})")
    add(
        "--without",
        default=(),
        type=some_of(*SECTIONS),
        metavar="SECTION,...",
        help=f"leave out some of: {', '.join(SECTIONS)}",
    )
    args = parser.parse_args(argv)
    check(args)
    return args


if __name__ == "__main__":
    raise SystemExit(run(main))
