"""What is worth measuring on a GPU, in order of worth: each part ends within eight minutes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.step.page import QUICKSTART

# Of benchmarks.loader; not imported, for it needs FFCV, and the other parts do not.
FEED_SECTIONS = "uint8 float gather torchvision plain starts exits determinism gpu".split()
MOST = 470.0  # seconds of a part: eight minutes with its start and its end


@dataclass(frozen=True)
class Plan:
    """On what the parts run."""

    data: Path  # a training set; its test set lies beside it
    device: str
    rehearsal: bool  # tiny sizes, on a CPU: every command is right, no figure means anything
    result: Path  # a JSON file for the part's own command


@dataclass(frozen=True)
class Part:
    """A command whose result is kept; the parts know nothing of each other."""

    name: str
    what: str
    seconds: float  # that it is expected to take on an H200; it is begun where these are left
    command: Callable[[Plan], list[str]]


def _tests(plan: Plan) -> list[str]:
    some = ["--timeout", "300", "--continue-on-collection-errors", "tests"]
    if plan.rehearsal:
        some = ["--collect-only", "tests/gpu"]
    return [*_python("pytest"), "-q", "-p", "no:cacheprovider", "-m", "gpu", *some]


def _feed(plan: Plan) -> list[str]:
    """The loader's section for a GPU; a rehearsal has another in its place."""
    wanted = "determinism" if plan.rehearsal else "gpu"
    others = ",".join(name for name in FEED_SECTIONS if name != wanted)
    tiny = ["--quick", "--pairs", "1", "--samples", "256"] if plan.rehearsal else []
    return [*_own("benchmarks.loader", plan), "--without", others, *tiny]


def _step(sections: str, *variants: str) -> Callable[[Plan], list[str]]:
    def command(plan: Plan) -> list[str]:
        tiny = ["--quick", "--pairs", "1", "--batch", "8", "--threads", "1"]
        chosen = (QUICKSTART,) if plan.rehearsal else variants
        names = ["--only", sections, "--variants", ",".join(chosen)]
        return [*_own("benchmarks.step", plan), *names, *(tiny if plan.rehearsal else [])]

    return command


def _accuracies(*flags: str) -> Callable[[Plan], list[str]]:
    def command(plan: Plan) -> list[str]:
        tiny = ["--variants", QUICKSTART, "--set", "--runtime.threads 1"]
        tiny += ["--ladder", "1,2"] if "--ladder" in flags else ["--set", "--train.epochs 1"]
        usual = ["--minutes", "7.5", *flags]
        own = _own("benchmarks.accuracies", plan)
        return [*own, *usual, *(tiny if plan.rehearsal else [])]

    return command


PARTS = (
    Part("tests", "the tests marked gpu", 240, _tests),
    Part("feed", "the augmentation kernel against G1, its share of a step", 300, _feed),
    Part(
        "step",
        "resnet453: batches 128 to 1024, idle time, the layer that decides (G3)",
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


def _own(module: str, plan: Plan) -> list[str]:
    """A command of the benchmarks, with what each of them takes."""
    where = ["--device", plan.device, "--data", str(plan.data), "--json", str(plan.result)]
    return [*_python(module), *where]


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]
