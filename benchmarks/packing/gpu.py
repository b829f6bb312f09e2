"""On a GPU: 1, 2, 4 and 8 runs at a time, as a sweep makes them; `measure` is the entry point.

The runs of a measurement are started together and stopped when all have trained for some seconds
at the same time. Runs per hour are those of the length in `EPOCHS`, each in a process of its own:
its start, and its training at the rate that was measured.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import machine
from benchmarks.measuring.child import ROOT
from benchmarks.measuring.whole_run import test_set
from engine.columns import columns
from engine.config import options
from engine.config.schema import Config, Model
from engine.errors import RunFailed, UserError
from engine.model import budget, resolve
from engine.sweep.executor import Job
from engine.sweep.mps import MPS, SLICES, Mps
from engine.sweep.packing import key_on_gpu
from engine.sweep.processes import Processes

NETWORKS = ("resnet11", "resnet1111", "resnet453")
AT_ONCE = (1, 2, 4, 8)
EPOCHS, IMAGES = 200, 50_000  # of the runs that are counted per hour
ENDLESS = 10_000  # epochs; the runs are stopped
MOST_SECONDS = 240.0  # until all runs of a measurement train, the first compilation included
POLL_SECONDS = 0.05
NO_TIME = "no time left"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    at_once: Sequence[int] = AT_ONCE
    images: int = 12_800  # of an epoch
    seconds: float = 10.0  # in which all runs train
    minutes: float = 60.0  # what would begin later is left out


def measure(
    networks: Sequence[str],
    data: Path,
    device: str,
    cache: Path,
    sizes: Sizes | None = None,
    say: Callable[[str], None] = lambda text: None,
    write: Callable[[dict[str, Any]], None] = lambda content: None,
) -> dict[str, Any]:
    """A row per network, way of sharing and number of runs; what was left out, and why.

    What there is so far is passed to `write` after each measurement.
    """
    sizes = sizes or Sizes()
    until = time.monotonic() + 60 * sizes.minutes
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    conditions = {"machine": machine.describe(device), "sizes": vars(sizes)}
    content: dict[str, Any] = conditions | {"figures": {}, "rows": rows, "left_out": left_out}
    longest = 0.0
    for name in networks:
        warm = [(SLICES, 1, True)]  # compiles and fills the caches; its start is the cold one
        cells = [(share, jobs, False) for share in (SLICES, MPS) for jobs in sizes.at_once]
        for share, jobs, cold in [*warm, *cells]:
            if share == MPS and jobs == 1:
                continue
            what = f"{name}, {jobs} by {share}"
            if time.monotonic() + longest > until:
                left_out.append(f"{what}: {NO_TIME}")
                continue
            say(what)
            began = time.monotonic()
            try:
                row = _measured(name, data, device, cache, share, jobs, sizes)
                rows.append(row | {"cold": cold})
            except (RunFailed, UserError) as error:
                left_out.append(f"{what}: {error}")
            if not cold:
                longest = max(longest, time.monotonic() - began)
            _add_gains(rows)
            content["figures"] = _figures(rows)
            write(content)
    return content


def table(content: dict[str, Any]) -> str:
    """The figures as text."""
    head = ("network", "share", "runs", "images/s", "gain", "start, s", "runs per hour")
    rows = [
        (row["network"], row["share"] + " (cold)" * row["cold"], str(row["runs"]),
         f"{row['images_per_second']:,.0f}", f"{row['gain']:.2f}" if row["gain"] else "",
         f"{row['start_seconds']:.1f}", f"{row['runs_per_hour']:.1f}")
        for row in content["rows"]
    ]  # fmt: skip
    left = [f"left out: {each}" for each in content["left_out"]]
    return "\n".join([columns(head, rows, right=(2, 3, 4, 5, 6)), *left]).strip()


def gains(content: dict[str, Any]) -> dict[str, float]:
    """What `--jobs auto` looks up."""
    gpu = content["machine"].get("gpu", "")
    return {
        key_on_gpu(row["runs"], row["share"], gpu, row["operations"]): round(row["gain"], 3)
        for row in content["rows"]
        if gpu and row["gain"] and row["runs"] > 1
    }


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Runs per hour of each measurement, the most first."""
    most = sorted(rows, key=lambda row: row["runs_per_hour"], reverse=True)
    return {
        f"{row['network']}, {row['runs']} by {row['share']}, runs/hour": row["runs_per_hour"]
        for row in most
        if not row["cold"]
    }


def _add_gains(rows: list[dict[str, Any]]) -> None:
    ones = {
        row["network"]: row["images_per_second"]
        for row in rows
        if row["runs"] == 1 and not row["cold"]
    }
    for row in rows:
        one = None if row["cold"] else ones.get(row["network"])
        row["gain"] = row["images_per_second"] / one if one else None


def _measured(
    name: str, data: Path, device: str, cache: Path, share: str, jobs: int, sizes: Sizes
) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-packing-") as folder,
        _sharing(share, Path(folder)) as mps,
    ):
        configs = [
            _config(name, data, device, cache, Path(folder), seed, sizes.images)
            for seed in range(jobs)
        ]
        executor = Processes(Path(folder) / "configs", [None], jobs, machine.cores(), mps)
        began = time.monotonic()
        with _running(executor, configs, Path(folder)) as epochs:
            begins = _wait(executor, epochs, 2, MOST_SECONDS)  # the first holds compilation
            trained = time.monotonic() - began
            time.sleep(sizes.seconds)
            ends = _wait(executor, epochs, max(map(len, begins)) + 1, MOST_SECONDS)
            if mps is not None and not mps.serves(None):
                raise RunFailed("the processes ran without MPS")
    rates = [
        sizes.images * (len(after) - len(before)) / (after[-1] - before[-1])
        for before, after in zip(begins, ends, strict=True)
    ]
    start = trained - 2 * sizes.images / statistics.mean(rates)
    length = max(0.0, start) + EPOCHS * IMAGES / statistics.mean(rates)
    return {
        "network": name,
        "operations": budget.flops(resolve(Model(name=name))).training,
        "share": share,
        "runs": jobs,
        "images_per_second": sum(rates),
        "of_each": rates,
        "start_seconds": max(0.0, start),
        "runs_per_hour": 3600 * jobs / length,
    }


@contextlib.contextmanager
def _sharing(share: str, folder: Path) -> Iterator[Mps | None]:
    if share == SLICES:
        yield None
        return
    with Mps([None], torch.cuda.device_count(), folder / "mps") as mps:
        yield mps


@contextlib.contextmanager
def _running(
    executor: Processes, configs: Sequence[Config], folder: Path
) -> Iterator[Callable[[], list[list[float]]]]:
    """While entered, the runs train; yields what reads the ends of their epochs, in seconds."""
    logs = [folder / config.run.name / "log.jsonl" for config in configs]

    def epochs() -> list[list[float]]:
        return [_ends(log) for log in logs]

    tickets = {
        executor.submit(Job(config.run.name, config, folder / f"{config.run.name}.log"))
        for config in configs
    }
    try:
        yield epochs
    finally:
        for ticket in tickets:
            executor.cancel(ticket)
        until = time.monotonic() + 60
        while executor.room < executor.slots and time.monotonic() < until:
            executor.ended(1.0)


def _wait(
    executor: Processes, epochs: Callable[[], list[list[float]]], count: int, seconds: float
) -> list[list[float]]:
    """The ends of the epochs, once each run has `count`."""
    until = time.monotonic() + seconds
    while True:
        ends = epochs()
        if min(map(len, ends)) >= count:
            return ends
        for _, end in executor.ended(POLL_SECONDS):
            last = end.output.splitlines()[-1:] or [end.outcome.value]
            raise RunFailed(f"a run ended: {last[0]}")
        if time.monotonic() > until:
            raise RunFailed(f"not all runs had {count} epochs after {seconds:.0f} s")


def _ends(log: Path) -> list[float]:
    with contextlib.suppress(FileNotFoundError):
        lines = log.read_text().split("\n")[:-1]  # the last may be half written
        return [json.loads(line)["seconds"] for line in lines]
    return []


def _config(
    name: str, data: Path, device: str, cache: Path, folder: Path, seed: int, images: int
) -> Config:
    file = ROOT / "configs" / f"{name}.yaml"
    words = ["--config-file", str(file)] if file.exists() else ["--model.name", name]
    settings = {
        "data.train": data, "data.test": test_set(data), "data.limit": images,
        "train.epochs": ENDLESS, "train.evaluate_every": ENDLESS, "train.seed": seed,
        "checkpoint.every_epochs": 0, "run.root": folder, "run.name": f"run{seed}",
        "runtime.device": device, "runtime.cache": cache.absolute(),
    }  # fmt: skip
    for key, value in settings.items():
        words += [f"--{key}", str(value)]
    return options.read(Config, words, program="benchmarks.packing", summary="").config
