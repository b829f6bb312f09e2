"""How fast a training step is, beside a plain PyTorch loop and an FFCV-style loop.

All train the same network with the same batch size and optimizer, each in a process of its own,
on one machine in one run. They take turns, A B A B: a ratio is taken pair by pair, and medians
are shown with their extremes. Ours is the engine's own step with `auto` settings, and augments
its images in every step; the others find theirs normalised in memory, in the layout and type
that suits them. First steps, in which ours compiles with an empty cache, are timed apart. It
writes nothing but FILE and temporary files, which it removes. With --device cuda it also
measures the sections for a GPU, whole runs among them.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C in the seconds of the imports below
    from engine import signals

    signals.quit_early()

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.measuring import machine
from benchmarks.measuring.child import cache_variables
from benchmarks.measuring.command import check, narrator, run
from benchmarks.measuring.data import training_set
from benchmarks.step import against_peers, gpu, layer, page, whole_runs
from benchmarks.step.benchmark import SIZES, StepBenchmark
from benchmarks.step.goals import VARIANTS
from benchmarks.step.turns import SECONDS
from engine.config.readers import some_of, whole, wholes
from engine.errors import OK
from engine.model import VARIANTS as KNOWN
from engine.parser import Parser

PROGRAM = "python -m benchmarks.step"
BATCH_SIZE, QUICK_BATCH_SIZE = 128, 32
PAIRS, QUICK_PAIRS = 8, 3

Section = Callable[[StepBenchmark], None]
SECTIONS: dict[str, tuple[Section, bool]] = {  # whether it is measured on a CPU by default
    "pairs": (against_peers.pairs, True),
    "start": (against_peers.second_start, True),
    "batches": (gpu.batches, False),
    "modes": (gpu.modes, False),
    "precisions": (gpu.precisions, False),
    "layer": (layer.layer, False),
    "inputs": (gpu.inputs, False),
    "switches": (gpu.switches, False),
    "tuning": (gpu.tuning, False),
    "boundaries": (whole_runs.boundaries, False),
    "whole": (whole_runs.whole, False),
    "reports": (whole_runs.reports, False),
}


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    with training_set(args.data) as path, _cache(args.cache) as cache:
        bench = StepBenchmark(
            path=path,
            device=args.device,
            threads=args.threads or machine.cores(),
            batch_size=args.batch or (QUICK_BATCH_SIZE if args.quick else BATCH_SIZE),
            variants=args.variants or VARIANTS,
            pairs=args.pairs or (QUICK_PAIRS if args.quick else PAIRS),
            seconds=SECONDS / 4 if args.quick else SECONDS,
            quick=args.quick,
            cache=cache,
            sizes=args.sizes or SIZES,
            keeps_cache=args.cache is not None,
            target=args.json,
            say=narrator(),
        )
        for name, (section, everywhere) in SECTIONS.items():
            if name in args.only if args.only else everywhere or args.device != "cpu":
                bench.run(name, section)
        text = page.text(bench.results, bench.goals(), bench.conditions())
    bench.say("done")
    sys.stdout.write(text)
    return OK


@contextlib.contextmanager
def _cache(kept: Path | None) -> Iterator[Path]:
    """A folder for compiled code, with the variables that lead there; an empty one is removed."""
    with tempfile.TemporaryDirectory(prefix="step-benchmark-cache-") as empty:
        name = str((kept or Path(empty)).resolve())
        variables = cache_variables(Path(name))
        before = {key: os.environ[key] for key in variables if key in os.environ}
        os.environ.update(variables)
        try:
            yield Path(name)
        finally:
            for key in variables:
                del os.environ[key]
            os.environ.update(before)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--device", default="cpu", metavar="cpu|cuda", help="where to train (default cpu)")
    add("--json", type=Path, metavar="FILE", help="write all results to FILE as well")
    add("--quick", action="store_true", help="fewer pairs, small batches; indicative")
    add("--data", metavar="X.beton", help="the training set (raw, of one size)")
    add(
        "--variants",
        type=some_of(*KNOWN),
        metavar="NAME,...",
        help=f"default {','.join(VARIANTS)}",
    )
    add("--batch", type=whole(1), metavar="N", help=f"images per step (default {BATCH_SIZE})")
    add(
        "--sizes",
        type=wholes(2, 65536),
        metavar="N,...",
        help=f"batches of the sections that compare several (default {','.join(map(str, SIZES))})",
    )
    add("--pairs", type=whole(1), metavar="N", help=f"turns of each comparison (default {PAIRS})")
    add("--threads", type=whole(1), metavar="N", help="CPU threads (default: one per core)")
    add("--cache", type=Path, metavar="FOLDER", help="of compiled code (default: an empty one)")
    add(
        "--only",
        type=some_of(*SECTIONS),
        metavar="SECTION,...",
        help=f"some of: {', '.join(SECTIONS)} (default: on a CPU the first two)",
    )
    args = parser.parse_args(argv)
    check(args)
    return args


if __name__ == "__main__":
    raise SystemExit(run(main))
