"""The sections of the step's benchmark that any device has: pairs of trainers, a second start."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.loader.processes import ROOT, answer_of
from benchmarks.measuring.turns import Spread, interleave
from benchmarks.step.page import QUICKSTART, Found
from benchmarks.step.peer_process import Apart
from benchmarks.step.peers import Task, Trainer
from benchmarks.step.peers.ours import Ours
from benchmarks.step.turns import StepTurns
from engine.config.schema import Runtime

JUDGED = "resnet453"  # the network that the goals of a GPU speak of
VARIANTS = ("resnet1111", "se_resnet443", JUDGED, QUICKSTART)
QUICKSTART_EPOCHS = 3  # of configs/quickstart.yaml; all others are trained for 200
RATIOS = {"plain": "ratio_vs_plain", "ffcv": "ratio_vs_ffcv_style"}
START_AT_MOST = 400.0  # seconds of a fresh process


@dataclass
class Bench:
    """What every section needs."""

    path: Path
    device: str
    threads: int
    batch_size: int
    variants: tuple[str, ...]
    pairs: int
    seconds: float  # a turn's least
    quick: bool
    cache: Path  # of compiled code; empty at the beginning
    found: Found
    say: Callable[[str], None]
    save: Callable[[], None]  # what was found so far; called wherever something was

    def task(self, variant: str, batch_size: int | None = None) -> Task:
        """Training `variant` on this device."""
        task = Task(variant, batch_size or self.batch_size, self.path, self.device, self.threads)
        return replace(task, epochs=QUICKSTART_EPOCHS) if variant == QUICKSTART else task

    def ours(self, task: Task, runtime: Runtime | None = None) -> Ours:
        """The engine's step with its compiled code below the benchmark's own folder."""
        return Ours(task, runtime, cache=str(self.cache))

    @contextlib.contextmanager
    def apart(self, kind: str, task: Task) -> Iterator[Apart]:
        """A warm trainer in a process of its own."""
        self.say(f"  {kind}: warm-up")
        trainer = Apart(kind, task, str(self.cache), self.seconds)
        try:
            yield trainer
        finally:
            trainer.close()

    @contextlib.contextmanager
    def ready(self, what: str, make: Callable[[], Trainer]) -> Iterator[StepTurns]:
        """A trainer that is warm, in this process; closed at the end."""
        self.say(f"  {what}: warm-up")
        turns = StepTurns(make, self.seconds)
        try:
            yield turns
        finally:
            turns.close()


def pairs(bench: Bench) -> None:
    """Ours and a plain loop in turns, then ours and an FFCV-style loop, for each network."""
    for variant in bench.variants:
        with bench.found.missing_if_it_fails(f"ratio_vs_plain {variant}"):
            _pairs_of(bench, variant)


def _pairs_of(bench: Bench, variant: str) -> None:
    task = bench.task(variant)
    bench.say(f" {variant}, batch {task.batch_size}")
    with bench.apart("ours", task) as mine:
        bench.found.of_variant("compile_seconds", variant, max(0.0, mine.warm.extra))
        starts = bench.found.details.setdefault("first_steps", {})
        starts[variant] = {"setting": mine.setting, **asdict(mine.warm)}
        for kind, key in RATIOS.items():
            with bench.apart(kind, task) as theirs:
                _compare(bench, variant, key, mine, theirs)
        _note_speed(bench, variant, mine)


def second_start(bench: Bench) -> None:
    """A fresh process with what an earlier one compiled: from its start to its first step."""
    variant = JUDGED if JUDGED in bench.variants else bench.variants[0]
    with bench.found.missing_if_it_fails("second_start_seconds"):
        starts = []
        for number in range(2):
            bench.say(f"  {variant}, start {number + 1} of 2 in a process of its own")
            starts.append(_start(bench, bench.task(variant)))
        bench.found.details["starts"] = {
            "variant": variant,
            "first": starts[0],
            "second": starts[1],
        }
        bench.found.figure("second_start_seconds", starts[1]["process_to_first_step_seconds"])


def _compare(bench: Bench, variant: str, key: str, mine: Apart, theirs: Apart) -> None:
    bench.say(f"  {mine.name} / {theirs.name}: {bench.pairs} pairs")
    found = interleave(mine, theirs, bench.pairs)
    bench.found.pairs[f"{variant}: {mine.name} / {theirs.name}"] = found
    bench.found.of_variant(key, variant, found.ratios.median)
    for each in (mine, theirs):
        bench.found.settings[f"{variant}: {each.name}"] = each.setting
    bench.save()


def _note_speed(bench: Bench, variant: str, mine: Apart) -> None:
    """The median of all turns of ours, and what it is of the device's measured product."""
    both = [pairs for name, pairs in bench.found.pairs.items() if name.startswith(f"{variant}: ")]
    rate = Spread(tuple(value for pairs in both for value in pairs.first.values)).median
    flops, peak = rate * mine.facts.flops, mine.peak()
    bench.found.of_variant("images_per_second", variant, rate)
    bench.found.of_variant("tflops", variant, flops / 1e12)
    bench.found.of_variant("utilisation", variant, flops / peak)
    peaks = bench.found.details.setdefault("matmul_peak_tflops", {})
    peaks[variant] = {"precision": mine.facts.precision, "tflops": peak / 1e12}


def _start(bench: Bench, task: Task) -> dict[str, float]:
    from benchmarks.step import startup_child

    argument = startup_child.as_argument(task, str(bench.cache / "starts"))
    done = subprocess.run(
        [sys.executable, "-m", startup_child.__name__, argument],
        capture_output=True,
        text=True,
        timeout=START_AT_MOST,
        cwd=ROOT,
        check=False,
    )
    return answer_of(done, task.variant)
