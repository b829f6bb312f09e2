"""How fast a training step is, beside a plain PyTorch loop and an FFCV-style loop.

The same network, batch and optimizer on one machine in one run. The trainers are processes of their
own that take turns, A B A B: a ratio is taken pair by pair, and medians are shown with their
extremes. Ours is the engine's own
step with `auto` settings, and augments its images in every step; the others find theirs normalised
in memory, in the layout and type that suits them. First steps, in which ours compiles with nothing
compiled beforehand, are uncounted and told apart. It writes nothing but FILE, and temporary files
that it removes. With --device cuda the sections for a GPU follow, whole runs among them.
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
from typing import Any

import torch

from benchmarks.measuring import machine
from benchmarks.measuring.command import check, narrator, run
from benchmarks.step import against_peers, gpu, layer, page, whole_runs
from benchmarks.step.against_peers import VARIANTS, Bench
from benchmarks.step.page import Found
from benchmarks.step.startup_child import CACHES
from benchmarks.step.turns import SECONDS
from engine import atomic
from engine.config.readers import some_of, whole
from engine.errors import OK, UserError
from engine.model import VARIANTS as KNOWN
from engine.parser import Parser
from engine.step.device import has_bf16_units

PROGRAM = "python -m benchmarks.step"
USUAL = ("data/cifar10_train.beton", "data/synthetic_train.beton")
BATCH_SIZE, QUICK_BATCH_SIZE = 128, 32
PAIRS, QUICK_PAIRS = 8, 3

Section = Callable[[Bench], None]
SECTIONS: dict[str, tuple[Section, bool]] = {  # whether a CPU is measured so as well
    "pairs": (against_peers.pairs, True),
    "start": (against_peers.second_start, True),
    "batches": (gpu.batches, False),
    "modes": (gpu.modes, False),
    "precisions": (gpu.precisions, False),
    "layer": (layer.layer, False),
    "whole": (whole_runs.whole, False),
}


def main(argv: Sequence[str]) -> int:
    """The command."""
    asked = _arguments(argv)
    load_before = machine.load()
    with _source(asked.data) as path, _empty_cache() as cache:
        bench = _bench(asked, path, cache)
        if asked.json:
            bench.save = lambda: _write(bench, load_before, Path(asked.json))
        for name, (section, everywhere) in SECTIONS.items():
            if name in asked.only if asked.only else everywhere or asked.device != "cpu":
                bench.say(f"{name}: {(section.__doc__ or '').splitlines()[0]}")
                section(bench)
                bench.save()
        conditions = _conditions(bench, load_before)
    bench.say("done")
    sys.stdout.write(page.text(bench.found, _judged(bench), conditions))
    return OK


def _write(bench: Bench, load_before: float, target: Path) -> None:
    """All that was found so far: whoever is stopped at a limit keeps that."""
    content = {**bench.found.as_json(), "goals": _judged(bench)}
    atomic.write_json(target, content | {"conditions": _conditions(bench, load_before)})


def _judged(bench: Bench) -> list[dict[str, Any]]:
    bf16 = has_bf16_units(torch.device(bench.device))
    return page.judged(bench.found, gpu=bench.device != "cpu", bf16=bf16)


def _bench(asked: argparse.Namespace, path: Path, cache: Path) -> Bench:
    quick = asked.quick
    return Bench(
        path=path,
        device=asked.device,
        threads=asked.threads or machine.cores(),
        batch_size=asked.batch or (QUICK_BATCH_SIZE if quick else BATCH_SIZE),
        variants=asked.variants or VARIANTS,
        pairs=asked.pairs or (QUICK_PAIRS if quick else PAIRS),
        seconds=SECONDS / 4 if quick else SECONDS,
        quick=quick,
        cache=cache,
        found=Found(),
        say=narrator(),
        save=lambda: None,
    )


def _conditions(bench: Bench, load_before: float) -> dict[str, Any]:
    """Without these a figure is not a result."""
    return {
        **machine.describe(bench.device),
        "threads": bench.threads,
        "load_before": load_before,
        "load_after": machine.load(),
        "data": bench.path.name,
        "batch_size": bench.batch_size,
        "variants": list(bench.variants),
        "pairs": bench.pairs,
        "seconds_of_a_turn": bench.seconds,
        "quick": bench.quick,
        "compile_cache": "empty at the beginning",
        "fed": "ours by its loader, augmented in every step; the others by ready, normalised "
        "images in memory, without augmentation",
    }


@contextlib.contextmanager
def _source(given: str | None) -> Iterator[Path]:
    """The training set to read; drawn for this run where none is given and none lies in data/."""
    for name in [given] if given is not None else USUAL:
        path = Path(name)
        if path.exists():
            yield path
            return
        if given is not None:
            raise UserError(f"--data {given}: no such file")
    from benchmarks.measuring.data import drawn  # brings FFCV's writer with it

    with tempfile.TemporaryDirectory(prefix="step-benchmark-data-") as folder:
        yield drawn(Path(folder))


@contextlib.contextmanager
def _empty_cache() -> Iterator[Path]:
    """A folder for compiled code, with the variables that lead there; gone afterwards."""
    before = {variable: os.environ.get(variable) for variable in CACHES}
    with tempfile.TemporaryDirectory(prefix="step-benchmark-cache-") as name:
        os.environ.update({variable: str(Path(name) / part) for variable, part in CACHES.items()})
        try:
            yield Path(name)
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--device", default="cpu", metavar="cpu|cuda", help="where to train (default cpu)")
    add("--json", metavar="FILE", help="write everything that was found to FILE as well")
    add("--quick", action="store_true", help="fewer pairs, small batches; indicative")
    add("--data", metavar="X.beton", help="the training set (raw, of one size)")
    add(
        "--variants",
        type=some_of(*KNOWN),
        metavar="NAME,...",
        help=f"default {','.join(VARIANTS)}",
    )
    add("--batch", type=whole(1), metavar="N", help=f"images a step (default {BATCH_SIZE})")
    add("--pairs", type=whole(1), metavar="N", help=f"turns of each comparison (default {PAIRS})")
    add("--threads", type=whole(1), metavar="N", help="CPU threads of all (default: one a core)")
    add(
        "--only",
        type=some_of(*SECTIONS),
        metavar="SECTION,...",
        help=f"some of: {', '.join(SECTIONS)} (default: on a CPU the first two)",
    )
    asked = parser.parse_args(argv)
    check(asked)
    return asked


if __name__ == "__main__":
    raise SystemExit(run(main))
