"""On a CPU: a run of one thread per core against one run of all cores.

For each network, in turns: one run with all cores, then as many runs as there are cores, each with
one thread, started together. The figure is images/s in training, of all runs together, without the
first epoch.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine
from benchmarks.measuring.whole_run import run
from engine.columns import columns
from engine.config.schema import Model
from engine.model import budget, resolve
from engine.sweep.packing import key_of

NETWORKS = ("resnet11", "resnet111_w16", "resnet453")
PROBE_IMAGES = 1_024
EPOCHS = 4  # of which the first does not count


@dataclass(frozen=True)
class _Where:
    data: Path
    cache: Path


def measure(
    networks: Sequence[str], data: Path, cache: Path, seconds: float, turns: int
) -> dict[str, Any]:
    """The figures of each network; an epoch of one run takes about `seconds`."""
    where = _Where(data, cache)
    rows = [_measured(name, where, seconds, turns) for name in networks]
    return {"machine": machine.describe("cpu"), "load": machine.load(), "networks": rows}


def table(content: dict[str, Any]) -> str:
    """The figures as text."""
    rows = [
        (row["network"], *(f"{row[key]:,.0f}" for key in ("one", "packed")), f"{row['gain']:.2f}")
        for row in content["networks"]
    ]
    cores = content["machine"]["cores"]
    return columns(("network", "one run, images/s", f"{cores} runs, images/s", "gain"), rows)


def gains(content: dict[str, Any]) -> dict[str, float]:
    """What `--jobs auto` looks up."""
    cores = content["machine"]["cores"]
    return {key_of(cores, row["operations"]): round(row["gain"], 3) for row in content["networks"]}


def _measured(name: str, where: _Where, seconds: float, turns: int) -> dict[str, Any]:
    cores = machine.cores()
    rate = _rate(name, cores, 1, PROBE_IMAGES, where)  # also fills the caches
    images = max(PROBE_IMAGES, int(rate * seconds))
    pairs = [
        (_rate(name, cores, 1, images, where), _rate(name, 1, cores, images, where))
        for _ in range(turns)
    ]
    one, packed = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    return {
        "network": name,
        "operations": budget.flops(resolve(Model(name=name))).training,
        "images": images,
        "one": one,
        "packed": packed,
        "gain": statistics.median(second / first for first, second in pairs),
        "turns": pairs,
    }


def _rate(name: str, threads: int, runs: int, images: int, where: _Where) -> float:
    """Images/s of `runs` runs together."""
    flags = [
        *("--runtime.threads", threads, "--train.epochs", EPOCHS, "--data.limit", images),
        *("--checkpoint.every_epochs", 0, "--train.evaluate_every", EPOCHS),
    ]

    def one(number: int) -> float:
        words = [*map(str, flags), "--train.seed", str(number)]
        done = run(name, where.data, "cpu", *words, seconds=3600, cache=where.cache)
        return float(done["images_per_second"])

    with ThreadPoolExecutor(runs) as pool:
        return sum(pool.map(one, range(runs)))
