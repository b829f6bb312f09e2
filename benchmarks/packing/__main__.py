"""Two runs of one thread against one run of two: `python -m benchmarks.packing --data TRAIN`.

For each network, in turns: one run with all cores, then as many runs as there are cores, each with
one thread, started together. The figure is images/s in training, of all runs together, without the
first epoch. The gains are kept in --cache, where `engine.sweep --jobs auto` finds them.
Measure on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine
from benchmarks.measuring.whole_run import run
from engine import atomic
from engine.columns import columns
from engine.config.schema import Model
from engine.errors import OK, run_command
from engine.model import budget, resolve
from engine.parser import Parser
from engine.step.measurements import keep
from engine.sweep.packing import key_of

NETWORKS = ("resnet11", "resnet111_w16", "resnet453")
PROBE_IMAGES = 1_024
EPOCHS = 4  # of which the first does not count


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    rows = [_measured(name, args) for name in args.networks]
    cores = machine.cores()
    text = [
        (row["network"], *(f"{row[key]:,.0f}" for key in ("one", "packed")), f"{row['gain']:.2f}")
        for row in rows
    ]
    head = ("network", "one run, images/s", f"{cores} runs, images/s", "gain")
    print(columns(head, text, right=(1, 2, 3)))
    keep({key_of(cores, row["operations"]): round(row["gain"], 3) for row in rows}, args.cache)
    if args.output:
        content = {"machine": machine.describe("cpu"), "load": machine.load(), "networks": rows}
        atomic.write_json(args.output, content)
    return OK


def _measured(name: str, args: argparse.Namespace) -> dict[str, Any]:
    cores = machine.cores()
    rate = _rate(name, cores, 1, PROBE_IMAGES, args)  # also fills the caches
    images = max(PROBE_IMAGES, int(rate * args.seconds))
    turns = [(_rate(name, cores, 1, images, args), _rate(name, 1, cores, images, args))
             for _ in range(args.turns)]  # fmt: skip
    one, packed = (statistics.median(rates) for rates in zip(*turns, strict=True))
    variant = resolve(Model(name=name))
    return {
        "network": name,
        "operations": budget.flops(variant).training,
        "images": images,
        "one": one,
        "packed": packed,
        "gain": statistics.median(second / first for first, second in turns),
        "turns": turns,
    }


def _rate(name: str, threads: int, runs: int, images: int, args: argparse.Namespace) -> float:
    """Images/s of `runs` runs together."""
    flags = [
        *("--runtime.threads", threads, "--train.epochs", EPOCHS, "--data.limit", images),
        *("--checkpoint.every_epochs", 0, "--train.evaluate_every", EPOCHS),
    ]

    def one(number: int) -> float:
        words = [*map(str, flags), "--train.seed", str(number)]
        done = run(name, args.data, "cpu", *words, seconds=3600, cache=args.cache)
        return float(done["images_per_second"])

    with ThreadPoolExecutor(runs) as pool:
        return sum(pool.map(one, range(runs)))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m benchmarks.packing", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="the training set (.beton)")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="names of networks")
    parser.add_argument("--seconds", type=float, default=10.0, help="of an epoch of one run")
    parser.add_argument("--turns", type=int, default=3, help="of which the medians count")
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache"),
                        help="runtime.cache of the sweeps that are to use it")  # fmt: skip
    parser.add_argument("--output", type=Path, help="a JSON file with every figure")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run_command(main))
