"""What accuracy whole runs reach and in which time: `python -m benchmarks.accuracies`.

A run is a process as a user starts it, one after the other; the accuracy is that of the last epoch
on the test set, chosen by nobody. Without --ladder each seed trains by the network's own file of
settings. With it the first seed trains once for each number of epochs, and the shortest run whose
last epoch reaches a target gives the time to it. A run is begun while the time allows it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine
from benchmarks.step.whole_runs import run
from engine import atomic
from engine.errors import OK, RunFailed, run_command
from engine.parser import Parser

PROGRAM = "python -m benchmarks.accuracies"
REPORTED = {  # per cent, of the last epoch where a report tells it, else as it says
    "se_resnet443": "95.54 at epoch 199 in report 002's plot",
    "resnet4643_w32": "90.86 in report 001",
    "resnet22222_maxpool_skip": "91.01 in report 003",
    "resnet453": "95.52 at the last epoch, 95.66 at the best, in report 004",
}
TARGETS = (0.94, 0.95, 0.96)
FAST = (
    "--schedule.name onecycle --schedule.t_max 0 --optim.nesterov true --optim.lr 0.4 "
    "--train.batch_size 512"
).split()  # of the ladder


def main(argv: Sequence[str]) -> int:
    """The command."""
    asked = _arguments(argv)
    began, found = time.monotonic(), _begun(asked)
    with tempfile.TemporaryDirectory(prefix="accuracies-cache-") as cache:
        for variant, flags in _plans(asked):
            left = 60 * asked.minutes - (time.monotonic() - began)
            if found["runs"] and left < found["runs"][-1]["wall_seconds"] * 1.2:
                found["left_out"].append(f"{variant} {' '.join(flags)}")
                continue
            try:
                found["runs"].append(_run(asked, variant, flags, left, Path(cache)))
            except (RunFailed, OSError) as error:
                found["failed"].append({"variant": variant, "flags": flags, "error": str(error)})
            found |= summary(found["runs"], ladder=bool(asked.ladder))
            if asked.json:
                atomic.write_json(Path(asked.json), found)
    sys.stdout.write(text(found))
    return OK if found["runs"] else 1


def summary(runs: list[dict[str, Any]], *, ladder: bool) -> dict[str, Any]:
    """Mean and deviation of equal runs by network, or the time to each target of a ladder."""
    if ladder:
        return {"seconds_to": {str(target): _shortest(runs, target) for target in TARGETS}}
    networks: dict[str, Any] = {}
    for variant in dict.fromkeys(each["variant"] for each in runs):
        values = [each["test_accuracy"] for each in runs if each["variant"] == variant]
        networks[variant] = {
            "n": len(values),
            "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "reported": REPORTED.get(variant),
        }
    return {"accuracy": networks}


def text(found: dict[str, Any]) -> str:
    """A line a run, then what they come to."""
    lines = [
        f"{each['variant']}, seed {each['seed']}, {each['epochs']} epochs: "
        f"{100 * each['test_accuracy']:.2f} % in {each['wall_seconds']:.1f} s "
        f"({each['without_compiling_seconds']:.1f} s without compiling)"
        for each in found["runs"]
    ]
    lines += [
        f"failed: {each['variant']} {' '.join(each['flags'])}: {each['error']}"
        for each in found["failed"]
    ]
    lines += [f"no time left for: {flags}" for flags in found["left_out"]]
    for variant, each in found.get("accuracy", {}).items():
        spread = "" if each["std"] is None else f", std {100 * each['std']:.2f}"
        reported = f"; reported: {each['reported']}" if each["reported"] else ""
        lines.append(f"{variant}: mean {100 * each['mean']:.2f} %, n {each['n']}{spread}{reported}")
    for target, each in found.get("seconds_to", {}).items():
        said = "not reached" if each is None else f"{each['wall_seconds']:.1f} s"
        lines.append(f"to {100 * float(target):g} %: {said}")
    return "\n".join(lines) + "\n"


def _shortest(runs: list[dict[str, Any]], target: float) -> dict[str, Any] | None:
    """The quickest run that ends at `target` or above; one seed, so a look and no proof."""
    reached = [each for each in runs if each["test_accuracy"] >= target]
    if not reached:
        return None
    best = min(reached, key=lambda each: float(each["without_compiling_seconds"]))
    kept = ("epochs", "seed", "test_accuracy", "wall_seconds", "without_compiling_seconds")
    return {key: best[key] for key in kept}


def _plans(asked: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The network and the flags of every run, in their order."""
    more = [word for each in asked.set for word in each.split()]
    if asked.ladder:
        usual = ["--train.seed", str(asked.seeds[0]), *FAST, *more]
        return [
            (
                asked.variants[0],
                ["--train.epochs", str(epochs), "--train.evaluate_every", str(epochs), *usual],
            )
            for epochs in asked.ladder
        ]
    return [
        (variant, ["--train.seed", str(seed), *more])
        for seed in asked.seeds
        for variant in asked.variants
    ]


def _run(
    asked: argparse.Namespace, variant: str, flags: list[str], left: float, cache: Path
) -> dict[str, Any]:
    print(f"{variant}: {' '.join(flags)}", file=sys.stderr, flush=True)
    try:
        return run(variant, asked.data, asked.device, *flags, seconds=max(left, 1.0), cache=cache)
    except subprocess.TimeoutExpired:
        raise RunFailed("stopped at the end of its time") from None


def _begun(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "conditions": {
            **machine.describe(asked.device),
            "data": asked.data.name,
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
    add("--device", default="cuda")
    add("--variants", type=lambda text: text.split(","), default=list(REPORTED), metavar="NAME,...")
    add("--seeds", type=_numbers, default=[0], metavar="N,...")
    add("--ladder", type=_numbers, default=[], metavar="EPOCHS,...", help="one run for each")
    add("--set", action="append", default=[], metavar="'--x y'", help="further flags of all runs")
    add("--minutes", type=float, default=7.5, help="no run is begun that would end later")
    add("--json", metavar="FILE")
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    raise SystemExit(run_command(main))
