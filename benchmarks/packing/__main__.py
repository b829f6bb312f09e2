"""What several runs at a time give over one: `python -m benchmarks.packing --data TRAIN`.

On a CPU: as many runs of one thread as there are cores, against one run of all cores.
With --device cuda, or with --at-once on any device: 1, 2, 4 and 8 runs at a time on one GPU, whose
processes take turns (slices) or run at the same time (mps): images/s in training of all runs
together, seconds until a run trains, and the runs per hour that follow from both.

The gains are kept in --cache, where `engine.sweep --jobs auto` finds them. Measure on an idle
machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.measuring import command, data
from benchmarks.packing import cores, gpu
from engine import atomic
from engine.config.readers import wholes
from engine.errors import OK, RESUMABLE
from engine.parser import Parser
from engine.step.measurements import keep


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    command.check(args)
    with data.training_set(args.data) as train:
        if args.at_once or args.device != "cpu":
            networks = args.networks or gpu.NETWORKS
            sizes = gpu.Sizes(args.at_once or gpu.AT_ONCE, args.images, args.seconds, args.minutes)
            content = gpu.measure(
                networks, train, args.device, args.cache, sizes, command.narrator(),
                partial(atomic.write_json, args.json) if args.json else lambda content: None,
            )  # fmt: skip
            print(gpu.table(content))
            gains = gpu.gains(content)
        else:
            networks = args.networks or cores.NETWORKS
            content = cores.measure(networks, train, args.cache, args.seconds, args.turns)
            print(cores.table(content))
            gains = cores.gains(content)
    keep(gains, args.cache)
    if args.json:
        atomic.write_json(args.json, content)
    in_time = not any(each.endswith(gpu.NO_TIME) for each in content.get("left_out", []))
    return OK if in_time else RESUMABLE


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m benchmarks.packing", __doc__)
    parser.add_argument("--data", help="the training set (.beton); one is written if there is none")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--networks", nargs="+", help="names of networks")
    parser.add_argument("--seconds", type=float, default=10.0,
                        help="of an epoch of one run; on a GPU, of a measurement")  # fmt: skip
    parser.add_argument("--turns", type=int, default=3, help="on a CPU: the medians count")
    parser.add_argument("--at-once", type=wholes(1, 48), metavar="N,N",
                        help="on a GPU: runs at a time (default 1,2,4,8)")  # fmt: skip
    parser.add_argument("--images", type=int, default=12_800, help="on a GPU: of an epoch")
    parser.add_argument("--minutes", type=float, default=60.0,
                        help="on a GPU: what would begin later is left out, and named")  # fmt: skip
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache"),
                        help="runtime.cache of the sweeps that are to use it")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(command.run(main))
