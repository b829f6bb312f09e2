"""Time and work to an accuracy, ours beside its peers: --time-to 94.

All are trained in turns, each run in a process of its own, with the same threads and the same
memory settings; who begins moves on from round to round, and round n has seed n. The clock runs
from pixels in memory to trained weights, whitening and augmentation included; evaluation is
reported apart and warm-up excluded. A matrix product is measured beside every run. Each run is
kept as a file in --records when it ends: a run that is there is not repeated, so results of
several calls add up. A peer is measured where its checkout is named; it is loaded from there and
changed as it is loaded, as far as this device needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.accuracies.time_to import records, summary, text, trial
from benchmarks.accuracies.time_to.contenders import LENGTHS, Contender, contenders, rounds
from benchmarks.accuracies.time_to.records import OURS, file_of
from benchmarks.measuring import child, machine
from benchmarks.measuring.command import check, narrator
from benchmarks.measuring.data import find, synthetic_set
from engine import atomic
from engine.config.readers import number, whole, wholes
from engine.errors import FAILED, OK, RESUMABLE, RunFailed, UserError
from engine.parser import Parser
from engine.step.device import Machine, cpu_facts, has_bf16_units
from engine.step.rates import measured

PROGRAM = "python -m benchmarks.accuracies"
ROUNDS, TINY_IMAGES = 10, 2048
SHARE = 0.7  # of a matrix product's rate, for what was not yet measured
AT_MOST = 12 * 3600.0  # seconds of a run


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    with _training_set(args) as train, tempfile.TemporaryDirectory(prefix="time-to-") as empty:
        found = contenders(args, train, _machine(args.device))
        session = Session(args, found, args.cache or Path(empty))
        if args.plan:
            sys.stdout.write(session.plan())
            return OK
        failed, left_out = session.run()
    trials = [trial for trial in session.trials() if trial.rehearsal == args.rehearse]
    entries = summary.entries(trials, rehearsal=args.rehearse)
    page = text.page(entries, args.time_to, rehearsal=args.rehearse)
    sys.stdout.write(page)
    if args.json:
        content = {"trials": [asdict(each) for each in trials], "left_out": left_out}
        atomic.write_json(args.json, content)
    if left_out and not failed:
        return RESUMABLE
    return FAILED if failed or not entries else OK


@dataclass(frozen=True)
class Session:
    """What one call runs."""

    args: argparse.Namespace
    found: Sequence[Contender]
    cache: Path

    def trials(self) -> list[records.Trial]:
        """All that is recorded so far, of the settings of this call alone."""
        settings = {contender.setting for contender in self.found}
        read = records.read_all(self.args.records, [])
        return [trial for trial in read if trial.setting in settings]

    def run(self) -> tuple[int, list[str]]:
        """Run what is not recorded yet; how many runs failed, and what there was no time for."""
        say, began, failed = narrator(), time.monotonic(), 0
        left_out: list[str] = []
        self.args.records.mkdir(parents=True, exist_ok=True)
        for contender, seed in rounds(self.found, self.args.rounds):
            if self._is_recorded(contender, seed):
                continue
            minutes = self._minutes(contender)
            left = self.args.minutes - (time.monotonic() - began) / 60
            if left < minutes:
                left_out.append(f"{contender.label}, seed {seed}: about {minutes:.1f} minutes")
                say(f"no time left for {left_out[-1]}")
                continue
            say(f"{contender.label}, seed {seed}: about {minutes:.1f} minutes")
            try:
                self._run(contender, seed)
            except (RunFailed, subprocess.TimeoutExpired) as error:
                failed += 1
                say(f"  failed: {error}")
        return failed, left_out

    def plan(self) -> str:
        """What would run, in its order, with estimated minutes."""
        lines, total = [], 0.0
        for contender, seed in rounds(self.found, self.args.rounds):
            if self._is_recorded(contender, seed):
                lines.append(f"seed {seed:<3} {contender.label}: recorded")
                continue
            minutes = self._minutes(contender)
            total += minutes
            lines.append(f"seed {seed:<3} {contender.label}: about {minutes:.1f} minutes")
        return "\n".join([*lines, f"about {total / 60:.1f} hours in all"]) + "\n"

    def _run(self, contender: Contender, seed: int) -> None:
        cut = self._seconds_of_ours() if contender.is_cut else None
        if contender.is_cut and cut is None:
            raise RunFailed("cut at the time of ours, of which no run is recorded")
        task = replace(
            contender.task, seed=seed, most_seconds=cut or 0.0, cache=str(self.cache / "code")
        )
        outcome, _ = child.answer(trial.__name__, asdict(task), cache=self.cache, seconds=AT_MOST)
        facts = {
            "name": contender.name,
            "label": contender.label,
            "family": contender.family,
            "setting": contender.setting,
            "seed": seed,
            "rehearsal": self.args.rehearse,
            "cut_at": cut,
        }
        path = file_of(self.args.records, contender.name, seed, contender.setting)
        records.write(path, facts, outcome)

    def _is_recorded(self, contender: Contender, seed: int) -> bool:
        return file_of(self.args.records, contender.name, seed, contender.setting).exists()

    def _seconds_of_ours(self) -> float | None:
        """The mean time of our first configuration so far."""
        first = next(each for each in self.found if each.family == OURS)
        entries = summary.entries(
            (trial for trial in self.trials() if trial.setting == first.setting),
            rehearsal=self.args.rehearse,
        )
        return entries[0].seconds.mean if entries else None

    def _minutes(self, contender: Contender) -> float:
        """About what a run takes: as recorded ones, else by its work and a matrix product."""
        known = [t.seconds for t in self.trials() if t.setting == contender.setting]
        if contender.is_cut:
            ours = next(each for each in self.found if each.family == OURS)
            return (self._seconds_of_ours() or 60 * self._minutes(ours)) / 60
        if known:
            return 1.1 * sum(known) / len(known) / 60
        return contender.petaflops * 1e15 / self._rate() / 60

    def _rate(self) -> float:
        if not _RATES:
            device = torch.device(self.args.device)
            precision = "bf16" if has_bf16_units(device) else "fp32"
            rates = measured(Machine(device, precision, compile=False), self.args.threads, None)
            _RATES.append(SHARE * rates.product)
        return _RATES[0]


_RATES: list[float] = []  # of this process, once measured


def _machine(device: str) -> str:
    return cpu_facts()[0] if device == "cpu" else torch.cuda.get_device_name(device)


@contextlib.contextmanager
def _training_set(args: argparse.Namespace) -> Iterator[Path]:
    if args.rehearse:
        with synthetic_set(TINY_IMAGES) as train:
            yield train
        return
    path = find(args.data)
    if path is None:
        raise UserError("--data: no training set; write CIFAR-10 with: python writers/cifar.py")
    yield path.resolve()


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add(
        "--time-to",
        type=number(1, 99.99, "94"),
        required=True,
        metavar="PERCENT",
        help="the accuracy",
    )
    add(
        "--config",
        type=_paths,
        default=[Path("configs/house94.yaml")],
        metavar="FILE,...",
        help="our configurations (default configs/house94.yaml)",
    )
    add("--airbench", type=Path, metavar="FOLDER", help="a checkout of cifar10-airbench")
    add(
        "--airbench-epochs",
        type=wholes(1, 1000),
        default=LENGTHS,
        metavar="N,...",
        help="its lengths; 8 are published (default 8,10,12,16)",
    )
    add("--ffcv", type=Path, metavar="FOLDER", help="a checkout of FFCV, for its CIFAR example")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="a report's configuration, as configs/resnet453.yaml: trained as long as ours took",
    )
    add("--rounds", type=whole(1), default=ROUNDS, metavar="N", help="seeds (default 10)")
    add("--data", metavar="X.beton", help="CIFAR-10's training set (default: that in data/)")
    add("--device", default="cpu", metavar="cpu|cuda", help="where to train (default cpu)")
    add("--threads", type=whole(1), metavar="N", help="CPU threads (default: one per core)")
    add(
        "--records",
        type=Path,
        default=Path("runs") / records.FOLDER,
        metavar="FOLDER",
        help=f"where the runs are kept, a file each (default runs/{records.FOLDER})",
    )
    add(
        "--minutes",
        type=number(0, 1e6, "60"),
        default=math.inf,
        metavar="N",
        help="start no run that would end later (default: no limit)",
    )
    add("--cache", type=Path, metavar="FOLDER", help="keep compiled code (default: it is not kept)")
    add("--plan", action="store_true", help="print what would run, and how long; run nothing")
    add("--rehearse", action="store_true", help="few steps on generated images, to try it all")
    add("--json", type=Path, metavar="FILE", help="write what is recorded to FILE as well")
    args = parser.parse_args(argv)
    check(args)
    args.threads = args.threads or machine.cores()
    return args


def _paths(words: str) -> list[Path]:
    return [Path(word) for word in words.split(",")]
