"""What to measure on a GPU, in order of worth: each part ends within eight minutes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.staging import Source
from benchmarks.loader.goals import SECTIONS
from benchmarks.step.goals import QUICKSTART

MOST = 470.0  # seconds of a part: eight minutes with its start and its end
MOST_OF_A_REHEARSAL = 1800.0  # on a machine that may be busy; its CPU time is a minute at most
ENDING = 15.0  # of these, for a part that watches its own time
TESTS = (  # the files with tests marked gpu: others could fail to be imported on a bare machine
    "tests/gpu",
    "tests/data/test_augment_gpu.py",
    "tests/data/test_effects.py",
    "tests/data/test_autoaugment.py",
    "tests/step/test_loss_on_gpu.py",
)
HOUSE = "configs/house94.yaml,configs/house95.yaml,configs/house96.yaml"


@dataclass(frozen=True)
class Setup:
    """What the parts run on."""

    source: Source  # a training set; its test set lies beside it
    device: str
    rehearsal: bool  # tiny sizes, on a CPU: tries every command; its figures mean nothing
    work: Path  # compiled code, and runs to be continued
    records: Path  # of single runs, a file each
    sizes: str = ""  # batches, where several are compared


@dataclass(frozen=True)
class Part:
    """A command whose result is kept; parts do not depend on each other.

    In the flags {cache}, {runs} and {records} are folders, {minutes} is the time that it has.
    """

    name: str
    what: str
    seconds: float  # expected on an H200; the part is not started with less time left
    module: str
    flags: str
    rehearsed: str  # the flags of a rehearsal
    needs: tuple[str, ...] = ("fastargs",)  # modules that not every machine has
    cifar10: bool = False  # it measures accuracies
    resumed: float = 0.0  # seconds with which it is worth starting, where the next call continues
    gate: bool = False  # where it fails nothing else is worth its time

    @property
    def least(self) -> float:
        """Seconds that must be left."""
        return self.resumed or self.seconds

    def command(self, setup: Setup, result: Path, limit: float = MOST) -> list[str]:
        """The words of the command, which writes its JSON to `result`."""
        words = [sys.executable, "-m", self.module]
        if self.module != "pytest":
            words += ["--device", setup.device, "--data", str(setup.source.path)]
            words += ["--json", str(result)]
        values = {
            "cache": str(setup.work / "cache"),
            "runs": str(setup.work / "runs"),
            "records": str(setup.records),
            "minutes": f"{(limit - ENDING) / 60:.2f}",
        }
        flags = shlex.split(self.rehearsed if setup.rehearsal else self.flags)
        if setup.sizes and "--sizes" not in flags and self.module == "benchmarks.step":
            flags += ["--sizes", setup.sizes]
        return words + [word.format(**values) for word in flags]


def _ours(name: str, what: str, seconds: float, *, gate: bool = False) -> Part:
    """A command of this package."""
    flags = "--cache {cache}"
    return Part(name, what, seconds, f"benchmarks.gpu.{name}", flags, f"{flags} --quick", gate=gate)


def _tests(name: str, what: str, seconds: float) -> Part:
    usual = "-q -p no:cacheprovider -m gpu"
    files = " ".join(TESTS)
    flags = f"{usual} --timeout 300 --continue-on-collection-errors {files}"
    needs = ("pytest", "pytest_timeout")
    return Part(name, what, seconds, "pytest", flags, f"{usual} --collect-only {files}", needs)


def _feed(name: str, what: str, seconds: float) -> Part:
    """The loader's section for a GPU; a rehearsal runs another in its place."""

    def only(section: str) -> str:
        return "--without " + ",".join(name for name in SECTIONS if name != section)

    tiny = f"{only('determinism')} --quick --pairs 1 --samples 256"
    return Part(name, what, seconds, "benchmarks.loader", only("gpu"), tiny, ("ffcv",))


def _step(
    name: str, what: str, seconds: float, sections: str, variants: str, *, cold: bool = False
) -> Part:
    only, kept = f"--only {sections} --variants", "--cache {cache}"
    flags = f"{only} {variants}" if cold else f"{only} {variants} {kept}"
    tiny = f"{only} {QUICKSTART} {kept} --quick --pairs 1 --batch 8 --threads 1"
    whole_runs = ("fastargs",) if sections in ("whole", "boundaries") else ()
    return Part(name, what, seconds, "benchmarks.step", flags, tiny, whole_runs)


def _accuracies(name: str, what: str, seconds: float, flags: str) -> Part:
    usual = "--minutes {minutes} --cache {cache} --keep {runs}"
    tiny = f"{flags} {usual} --variants {QUICKSTART} --set '--runtime.threads 1' "
    tiny += "--ladder 1,2" if "--ladder" in flags else "--set '--train.epochs 1'"
    return Part(
        name, what, seconds, "benchmarks.accuracies", f"{flags} {usual}", tiny,
        cifar10=True, resumed=120,
    )  # fmt: skip


def _final(variant: str, seed: int, seconds: float) -> Part:
    """A final network of the reports by its own recipe, 200 epochs."""
    name = f"final-{variant}-s{seed}"
    what = f"{variant}: 200 epochs by its own recipe, seed {seed}"
    return _accuracies(name, what, seconds, f"--variants {variant} --seeds {seed}")


def _time_to(name: str, what: str, seconds: float) -> Part:
    usual = "--time-to 94 --minutes {minutes} --records {records} --cache {cache}"
    return Part(
        name, what, seconds, "benchmarks.accuracies", f"{usual} --rounds 3 --config {HOUSE}",
        f"{usual} --rehearse --rounds 1 --threads 1 --config configs/quickstart.yaml",
        cifar10=True, resumed=180,
    )  # fmt: skip


def _several(network: str, seconds: float) -> Part:
    """Several runs on one GPU at the same time."""
    usual = "--cache {cache} --minutes {minutes} --networks"
    tiny = "1,2" if network == "resnet11" else "1"  # one of them tries all
    return Part(
        f"several-{network}", f"{network}: 1, 2, 4 and 8 runs at once, in slices and by MPS",
        seconds, "benchmarks.packing", f"{usual} {network} --seconds 6",
        f"{usual} {QUICKSTART} --seconds 0.2 --at-once {tiny} --images 80",
    )  # fmt: skip


PARTS = (
    _ours("smoke", "does it work: two epochs of resnet453 in three modes, and --profile", 240,
          gate=True),
    _tests("tests", "the tests marked gpu", 240),
    _step(
        "step",
        "resnet453: batches 128 to 1024, every kernel, idle time, the costliest layer (G3)",
        360,
        "batches,layer",
        "resnet453",
    ),
    _step(
        "whole", "resnet453: 200 epochs (G2), by training, evaluation, boundary, checkpoint", 400,
        "whole", "resnet453", cold=True,
    ),
    _step("start", "resnet453: a cold and a warm start (G4)", 150, "start", "resnet453", cold=True),
    _time_to("time-to", "time to 94, 95 and 96 % by the house configs", 420),
    _feed("feed", "the augmentation kernel against G1, its share of a step", 240),
    _ours("resume", "resnet453 killed, stopped and continued, to the bit", 240),
    _step("inputs", "resnet453: exact mode, stream, AutoAugment", 300, "inputs", "resnet453"),
    _step(
        "switches", "resnet453: what each of the engine's switches for a GPU saves", 360,
        "switches", "resnet453",
    ),
    _step(
        "boundaries", "resnet453: evaluation, boundary and checkpoint, with their switches", 240,
        "boundaries", "resnet453",
    ),
    _several("resnet11", 300),
    _step(
        "modes", "resnet453 eager, compiled, graphed; fp32, tf32, bf16, fp16", 420,
        "modes,precisions", "resnet453",
    ),
    _final("resnet453", 1, 400),
    _final("resnet4643_w32", 0, 300),
    _final("resnet22222_maxpool_skip", 0, 300),
    _final("se_resnet443", 0, 400),
    _several("resnet453", 400),
    _several("resnet1111", 300),
    _step(
        "tuning", "resnet453: all of cuDNN's kernels timed, coordinate descent", 450,
        "tuning", "resnet453",
    ),
    _step(
        "pairs", "resnet453, resnet1111 beside plain and FFCV-style loops", 300,
        "pairs", "resnet453,resnet1111", cold=True,
    ),
    _step("reports", "the reports' loop, three epochs, scaled", 150, "reports", "resnet453"),
    _final("resnet453", 2, 400),
    _final("se_resnet443", 1, 400),
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
        cold=True,
    ),
)  # fmt: skip
