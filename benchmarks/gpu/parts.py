"""What is worth measuring on a GPU, in order of worth: each part ends within eight minutes."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    command: Callable[[Setup], list[str]]


def _tests(setup: Setup) -> list[str]:
    some = ["--timeout", "300", "--continue-on-collection-errors", "tests"]
    if setup.rehearsal:
        some = ["--collect-only", "tests/gpu"]
    return [*_python("pytest"), "-q", "-p", "no:cacheprovider", "-m", "gpu", *some]


def _feed(setup: Setup) -> list[str]:
    """The loader's section for a GPU; a rehearsal runs another in its place."""
    wanted = "determinism" if setup.rehearsal else "gpu"
    others = ",".join(name for name in SECTIONS if name != wanted)
    tiny = ["--quick", "--pairs", "1", "--samples", "256"] if setup.rehearsal else []
    return [*_own("benchmarks.loader", setup), "--without", others, *tiny]


def _step(sections: str, *variants: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        tiny = ["--quick", "--pairs", "1", "--batch", "8", "--threads", "1"]
        names = (QUICKSTART,) if setup.rehearsal else variants
        what = ["--only", sections, "--variants", ",".join(names)]
        return [*_own("benchmarks.step", setup), *what, *(tiny if setup.rehearsal else [])]

    return command


def _accuracies(*flags: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        tiny = ["--variants", QUICKSTART, "--set", "--runtime.threads 1"]
        tiny += ["--ladder", "1,2"] if "--ladder" in flags else ["--set", "--train.epochs 1"]
        usual = ["--minutes", "7.5", *flags]
        own = _own("benchmarks.accuracies", setup)
        return [*own, *usual, *(tiny if setup.rehearsal else [])]

    return command


PARTS = (
    Part("tests", "the tests marked gpu", 240, _tests),
    Part("feed", "the augmentation kernel against G1, its share of a step", 300, _feed),
    Part(
        "step",
        "resnet453: batches 128 to 1024, idle time, the most expensive layer (G3)",
        400,
        _step("batches,layer", "resnet453"),
    ),
    Part(
        "whole",
        "resnet453: 200 epochs (G2), and the reports' loop, scaled",
        400,
        _step("whole", "resnet453"),
    ),
    Part(
        "pairs",
        "resnet453, resnet1111 beside plain and FFCV-style loops",
        300,
        _step("pairs", "resnet453", "resnet1111"),
    ),
    Part(
        "modes",
        "resnet453 eager, compiled, graphed; fp32, tf32, bf16, fp16",
        420,
        _step("modes,precisions", "resnet453"),
    ),
    Part("start", "resnet453: a second start (G4)", 150, _step("start", "resnet453")),
    Part(
        "accuracy-resnet453",
        "resnet453: the accuracy of two more seeds",
        460,
        _accuracies("--variants", "resnet453", "--seeds", "1,2"),
    ),
    Part(
        "accuracy-finals",
        "the smaller finals of the reports, by their own recipes",
        460,
        _accuracies("--variants", "resnet22222_maxpool_skip,resnet4643_w32"),
    ),
    Part(
        "accuracy-se_resnet443",
        "se_resnet443, by its own recipe",
        300,
        _accuracies("--variants", "se_resnet443", "--seeds", "0,1"),
    ),
    Part(
        "ladder",
        "resnet453: the shortest fast schedule that reaches 94, 95, 96 %",
        460,
        _accuracies("--variants", "resnet453", "--ladder", "15,30,45,60,90"),
    ),
    Part(
        "pairs-more",
        "se_resnet443 and the quickstart's network beside plain and FFCV-style loops",
        300,
        _step("pairs", "se_resnet443", QUICKSTART),
    ),
)


def _own(module: str, setup: Setup) -> list[str]:
    """A command of the benchmarks, with the flags that each of them takes."""
    where = ["--device", setup.device, "--data", str(setup.data), "--json", str(setup.result)]
    return [*_python(module), *where]


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]
