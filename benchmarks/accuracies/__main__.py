"""What accuracy whole runs reach and in which time: `python -m benchmarks.accuracies`.

Each run is a process as a user starts it, one after the other; the accuracy is that of the last
epoch on the test set. Without --ladder each seed trains by the network's own file of settings.
With it the first seed trains once for each number of epochs, and the shortest run whose last epoch
reaches a target gives the time to it. No run is started that would end after --minutes, and with
--keep a run that does not end in them is continued by the next call. Exit code 75 where something
was left out for want of time.
With --time-to, ours and its peers take turns: see `--time-to 94 --help`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracies.time_to import command
from benchmarks.measuring import machine
from benchmarks.measuring.child import ROOT
from benchmarks.measuring.command import check
from benchmarks.measuring.whole_run import Unfinished, run
from engine import atomic
from engine.errors import FAILED, OK, RESUMABLE, RunFailed, run_command
from engine.parser import Parser
from engine.sweep.files import read_files
from engine.sweep.points import points_of

PROGRAM = "python -m benchmarks.accuracies"
FINALS = {  # the reports' final networks: the runs of configs/sweeps that their settings repeat
    "se_resnet443": ("report_002.yaml", "2.1/as_run"),
    "resnet4643_w32": ("report_001.yaml", "1.2/"),
    "resnet22222_maxpool_skip": ("report_003.yaml", "3.9/as_run"),
    "resnet453": ("report_004.yaml", "4.5/"),
}
LEAST = 60.0  # seconds left in which a kept run is begun or continued
TARGETS = (0.94, 0.95, 0.96)
FAST = (
    "--schedule.name onecycle --schedule.t_max 0 --optim.nesterov true --optim.lr 0.4 "
    "--train.batch_size 512"
).split()  # of the ladder


def main(argv: Sequence[str]) -> int:
    """The command."""
    if any(word.split("=")[0] == "--time-to" for word in argv):
        return command.main(argv)
    args = _arguments(argv)
    check(args)
    began, results = time.monotonic(), _empty(args)
    with tempfile.TemporaryDirectory(prefix="accuracies-cache-") as cache:
        for variant, flags in planned(args):
            left = 60 * args.minutes - (time.monotonic() - began)
            most = 1.2 * results["runs"][-1]["wall_seconds"] if results["runs"] else 0.0
            if left < (LEAST if args.keep else most):
                results["left_out"].append(f"{variant} {' '.join(flags)}")
                continue
            print(f"{variant}: {' '.join(flags)}", file=sys.stderr, flush=True)
            where = variant, args.data, args.device
            try:
                places = {"cache": args.cache or Path(cache), "keep": args.keep}
                done = run(*where, *flags, seconds=max(left, 1.0), **places)
                results["runs"].append(done)
            except Unfinished as part:
                results["left_out"].append(f"{variant} {' '.join(flags)}: {part}")
            except (RunFailed, OSError) as error:
                results["failed"].append({"variant": variant, "flags": flags, "error": str(error)})
            results |= summary(results["runs"], ladder=bool(args.ladder))
            if args.json:
                atomic.write_json(args.json, results)
    if args.json:
        atomic.write_json(args.json, results)
    sys.stdout.write(text(results))
    if results["left_out"]:
        return RESUMABLE
    return OK if results["runs"] else FAILED


def planned(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The network and the flags of every run, in their order."""
    more = [word for each in args.set for word in each.split()]
    if args.ladder:
        seed = ["--train.seed", str(args.seeds[0])]
        lengths = [
            ["--train.epochs", str(epochs), "--train.evaluate_every", str(epochs)]
            for epochs in args.ladder
        ]
        return [(args.variants[0], [*length, *seed, *FAST, *more]) for length in lengths]
    return [
        (variant, ["--train.seed", str(seed), *more])
        for seed in args.seeds
        for variant in args.variants
    ]


def summary(runs: list[dict[str, Any]], *, ladder: bool) -> dict[str, Any]:
    """Mean and standard deviation per network, or the time to each target of a ladder."""
    if ladder:
        return {"seconds_to": {str(target): _shortest(runs, target) for target in TARGETS}}
    networks: dict[str, Any] = {}
    for variant in dict.fromkeys(each["variant"] for each in runs):
        values = [each["test_accuracy"] for each in runs if each["variant"] == variant]
        networks[variant] = {
            "n": len(values),
            "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "reported": reported(variant),
        }
    return {"accuracy": networks}


def reported(variant: str) -> str | None:
    """What a report gives for one of its final networks, in percent, with the evidence."""
    if variant not in FINALS:
        return None
    file, name = FINALS[variant]
    problems: list[str] = []
    for experiment in read_files([ROOT / "configs" / "sweeps" / file]).experiments:
        for point in points_of(experiment, problems):
            if point.name == name:
                return "; ".join(
                    f"{each.text} ({': '.join(filter(None, (each.evidence, each.note)))})"
                    for each in point.reported
                )
    raise RunFailed(f"configs/sweeps/{file}: no run {name}")


def text(results: dict[str, Any]) -> str:
    """One line per run, then the summary."""
    lines = [
        f"{each['variant']}, seed {each['seed']}, {each['epochs']} epochs: "
        f"{100 * each['test_accuracy']:.2f} % in {each['wall_seconds']:.1f} s "
        f"({each['without_compiling_seconds']:.1f} s without compiling)"
        for each in results["runs"]
    ]
    lines += [
        f"failed: {each['variant']} {' '.join(each['flags'])}: {each['error']}"
        for each in results["failed"]
    ]
    lines += [f"no time left for: {flags}" for flags in results["left_out"]]
    for variant, each in results.get("accuracy", {}).items():
        spread = "" if each["std"] is None else f", std {100 * each['std']:.2f}"
        claims = f"; reported: {each['reported']}" if each["reported"] else ""
        lines.append(f"{variant}: mean {100 * each['mean']:.2f} %, n {each['n']}{spread}{claims}")
    for target, each in results.get("seconds_to", {}).items():
        reached = "not reached" if each is None else f"{each['wall_seconds']:.1f} s"
        lines.append(f"to {100 * float(target):g} %: {reached}")
    return "\n".join(lines) + "\n"


def _shortest(runs: list[dict[str, Any]], target: float) -> dict[str, Any] | None:
    """The fastest run that ends at `target` or above; it is of one seed only."""
    reached = [each for each in runs if each["test_accuracy"] >= target]
    if not reached:
        return None
    best = min(reached, key=lambda each: float(each["without_compiling_seconds"]))
    kept = ("epochs", "seed", "test_accuracy", "wall_seconds", "without_compiling_seconds")
    return {key: best[key] for key in kept}


def _empty(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "conditions": {
            **machine.describe(args.device),
            "data": args.data.name,
            "accuracy": "of the last epoch, on the test set",
            "load_before": machine.load(),
        },
        "runs": [],
        "failed": [],
        "left_out": [],
    }


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("data/cifar10_train.beton"), metavar="X.beton")
    add("--device", default="cuda", metavar="cpu|cuda", help="where to train (default cuda)")
    add("--variants", type=lambda text: text.split(","), default=list(FINALS), metavar="NAME,...")
    add("--seeds", type=_numbers, default=[0], metavar="N,...")
    add("--ladder", type=_numbers, default=[], metavar="EPOCHS,...", help="one run for each")
    add("--set", action="append", default=[], metavar="'--x y'", help="further flags of all runs")
    add("--minutes", type=float, default=7.5, help="start no run that would end later")
    add("--keep", type=Path, metavar="FOLDER", help="keep the runs, and continue those there")
    add("--cache", type=Path, metavar="FOLDER", help="keep compiled code (default: it is not kept)")
    add(
        "--time-to", metavar="PERCENT", help="time to an accuracy; its options: --time-to 94 --help"
    )
    add("--json", type=Path, metavar="FILE", help="write all results to FILE as well")
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    raise SystemExit(run_command(main))
