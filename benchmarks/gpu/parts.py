"""What to measure on a GPU, in order of importance: each part ends within eight minutes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loader.goals import SECTIONS
from benchmarks.step.goals import QUICKSTART

MOST = 470.0  # seconds of a part: eight minutes with its start and its end


@dataclass(frozen=True)
class Setup:
    """What the parts run on."""

    data: Path  # a training set; its test set lies beside it
    device: str
    rehearsal: bool  # tiny sizes, on a CPU: tries every command; its figures mean nothing
    result: Path  # a JSON file for the part's own command


@dataclass(frozen=True)
class Part:
    """A command whose result is kept; parts do not depend on each other."""

    name: str
    what: str
    seconds: float  # expected on an H200; the part is not started with less time left
    module: str
    flags: str
    rehearsed: str  # the flags of a rehearsal

    def command(self, setup: Setup) -> list[str]:
        """The words of the command."""
        words = [sys.executable, "-m", self.module]
        if self.module != "pytest":
            words += ["--device", setup.device, "--data", str(setup.data)]
            words += ["--json", str(setup.result)]
        return words + shlex.split(self.rehearsed if setup.rehearsal else self.flags)


def _tests(name: str, what: str, seconds: float) -> Part:
    usual = "-q -p no:cacheprovider -m gpu"
    flags = f"{usual} --timeout 300 --continue-on-collection-errors tests"
    return Part(name, what, seconds, "pytest", flags, f"{usual} --collect-only tests/gpu")


def _feed(name: str, what: str, seconds: float) -> Part:
    """The loader's section for a GPU; a rehearsal runs another in its place."""

    def only(section: str) -> str:
        return "--without " + ",".join(name for name in SECTIONS if name != section)

    tiny = f"{only('determinism')} --quick --pairs 1 --samples 256"
    return Part(name, what, seconds, "benchmarks.loader", only("gpu"), tiny)


def _step(name: str, what: str, seconds: float, sections: str, variants: str) -> Part:
    only = f"--only {sections} --variants"
    tiny = f"{only} {QUICKSTART} --quick --pairs 1 --batch 8 --threads 1"
    return Part(name, what, seconds, "benchmarks.step", f"{only} {variants}", tiny)


def _accuracies(name: str, what: str, seconds: float, flags: str) -> Part:
    tiny = f"{flags} --minutes 7.5 --variants {QUICKSTART} --set '--runtime.threads 1' "
    tiny += "--ladder 1,2" if "--ladder" in flags else "--set '--train.epochs 1'"
    return Part(name, what, seconds, "benchmarks.accuracies", f"{flags} --minutes 7.5", tiny)


PARTS = (
    _tests("tests", "the tests marked gpu", 240),
    _feed("feed", "the augmentation kernel against G1, its share of a step", 300),
    _step(
        "step",
        "resnet453: batches 128 to 1024, idle time, the most expensive layer (G3)",
        400,
        "batches,layer",
        "resnet453",
    ),
    _step(
        "whole", "resnet453: 200 epochs (G2), and the reports' loop, scaled", 400,
        "whole", "resnet453",
    ),
    _step(
        "pairs", "resnet453, resnet1111 beside plain and FFCV-style loops", 300,
        "pairs", "resnet453,resnet1111",
    ),
    _step(
        "modes", "resnet453 eager, compiled, graphed; fp32, tf32, bf16, fp16", 420,
        "modes,precisions", "resnet453",
    ),
    _step("start", "resnet453: a second start (G4)", 150, "start", "resnet453"),
    _accuracies(
        "accuracy-resnet453", "resnet453: the accuracy of two more seeds", 460,
        "--variants resnet453 --seeds 1,2",
    ),
    _accuracies(
        "accuracy-finals", "the smaller final networks of the reports, by their own recipes", 460,
        "--variants resnet22222_maxpool_skip,resnet4643_w32",
    ),
    _accuracies(
        "accuracy-se_resnet443", "se_resnet443, by its own recipe", 300,
        "--variants se_resnet443 --seeds 0,1",
    ),
    _accuracies(
        "ladder", "resnet453: the shortest fast schedule that reaches 94, 95, 96 %", 460,
        "--variants resnet453 --ladder 15,30,45,60,90",
    ),
    _step(
        "pairs-more",
        "se_resnet443 and the quickstart's network beside plain and FFCV-style loops",
        300,
        "pairs",
        f"se_resnet443,{QUICKSTART}",
    ),
)  # fmt: skip
