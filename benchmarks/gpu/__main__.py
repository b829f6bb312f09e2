"""All measurements for a GPU, in parts of at most eight minutes, those of most worth first.

    python -m benchmarks.gpu --plan 30       which parts fit in half an hour; runs nothing
    python -m benchmarks.gpu --minutes 9     the next parts that fit in nine minutes, into
                                             benchmarks/results/<device>/
    python -m benchmarks.gpu                 all that are not done yet
    python -m benchmarks.gpu --rehearse      tiny sizes on a CPU, to try every command

Each part is a process of its own, stopped at its limit; after a failed part the next one starts,
but for the first, which shows whether anything works. Each part has a JSON file, which says whether
it is done and what it left out: the same command continues, also with the folder of another
machine's results. CIFAR-10 is read from --data, a file or a folder with its pieces; without it the
built-in images are drawn. FFCV and fastargs come from wheelhouse/ where they are not installed.
Exit codes: 0 all done, 1 a part failed, 75 time is up (the same command continues).
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu import running, staging, wheels
from benchmarks.gpu.parts import MOST, MOST_OF_A_REHEARSAL, PARTS, Part, Setup
from benchmarks.gpu.running import DONE, FAILED, INCOMPLETE, STOPPED
from benchmarks.measuring.child import ROOT
from engine.columns import columns
from engine.config.readers import wholes
from engine.errors import FAILED as FAILURE
from engine.errors import OK, RESUMABLE, UserError, run_command
from engine.parser import Parser

PROGRAM = "python -m benchmarks.gpu"
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "gpu"
ENOUGH = 20.0  # seconds: no part of a rehearsal is started with less time left
LEFT_OUT = 4  # reasons per part in the table; all are in its file


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    if args.plan is not None:
        sys.stdout.write(plan(args))
        return OK
    args.output.mkdir(parents=True, exist_ok=True)
    with _work(args) as work:
        session = Session(args, _setup(args, work))
        session.run()
    sys.stdout.write(table(args.part or PARTS, args.output, rehearsal=args.rehearse))
    return session.code()


@dataclass
class Session:
    """What one call runs."""

    args: argparse.Namespace
    setup: Setup

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.ends: list[str | None] = []  # None: no time was left

    def run(self) -> None:
        """Every part that is not done yet and fits in the time that is left."""
        for part, known in in_order(self.args):
            if known == DONE and not self.args.again:
                _say(f"{part.name}: already done")
                continue
            left = 60 * self.args.minutes - (time.monotonic() - self.began)
            if left < (ENOUGH if self.args.rehearse else part.least):
                _say(f"{part.name}: not started, only {max(left, 0):.0f} s left")
                self.ends.append(None)
                continue
            most = MOST_OF_A_REHEARSAL if self.args.rehearse else MOST
            self.ends.append(self._run(part, min(most, left)))
            if part.gate and self.ends[-1] != DONE and part not in (self.args.part or ()):
                _say(f"nothing else is started; to do so: {PROGRAM} --part NAME")
                break

    def code(self) -> int:
        """The exit code."""
        if FAILED in self.ends or STOPPED in self.ends:
            return FAILURE
        return RESUMABLE if {None, INCOMPLETE} & {*self.ends} else OK

    def _run(self, part: Part, limit: float) -> str:
        _say(f"{part.name}: {part.what} (at most {limit / 60:.1f} minutes)")
        content = running.run(part, self.setup, self.args.output, limit)
        _say(f"{part.name}: {content['status']} after {content['seconds']:.0f} s")
        if content["status"] in (FAILED, STOPPED):
            for line in content["said"][-40:]:
                _say(f"    {line}")
        return str(content["status"])


def in_order(args: argparse.Namespace) -> list[tuple[Part, str | None]]:
    """The parts by worth, with how they ended before.

    Those that failed or left something out are tried again after all others, but for the smoke.
    """
    known = [
        (part, running.status(args.output, part, rehearsal=args.rehearse))
        for part in args.part or PARTS
    ]
    return sorted(known, key=lambda each: each[1] not in (None, DONE) and not each[0].gate)


def plan(args: argparse.Namespace) -> str:
    """The parts that fit in so many minutes, in their order; what is done takes none."""
    left, rows = 60.0 * args.plan, []
    for part, known in in_order(args):
        said, after = known or "", ""
        if known != DONE and left >= part.least:
            left -= min(part.seconds, left)
            said, after = "fits", f"{args.plan - left / 60:.0f}"
        elif known != DONE:
            said = "no time"
        number, minutes = PARTS.index(part) + 1, f"{part.seconds / 60:.1f}"
        rows.append((str(number), part.name, minutes, said, after, part.what))
    head = ("", "part", "minutes", f"in {args.plan:g}", "until", "")
    note = "\nMinutes are expected ones, of an H200; starting and copying come on top.\n"
    return columns(head, rows, right={0, 2, 4}) + note


def table(parts: Sequence[Part], out: Path, *, rehearsal: bool) -> str:
    """How each part ended, its first figures, and what it left out."""
    rows, notes = [], []
    for part in parts:
        content = running.content_of(out, part, rehearsal=rehearsal)
        said, seconds = content.get("status", "not run"), content.get("seconds", 0)
        rows.append((part.name, said, f"{seconds:.0f}", running.headline(content)))
        left_out = content.get("left_out", [])
        notes += [f"{part.name}: left out: {each}" for each in left_out[:LEFT_OUT]]
    text = columns(("part", "", "s", "figures"), rows, right={2})
    return "\n".join([text, *notes]) + f"\nall of it: {out}\n"


def _setup(args: argparse.Namespace, work: Path) -> Setup:
    wheels.provide(work, _say)
    source = staging.training_set(args.data, work, _say, rehearsal=args.rehearse)
    _say(f"data: {source.name}, {source.samples:,} images")
    records = args.output / "time_to_accuracy"
    if args.rehearse:
        records = work / "time_to_accuracy"
    return Setup(source, args.device, args.rehearse, work, records, ",".join(map(str, args.sizes)))


@contextlib.contextmanager
def _work(args: argparse.Namespace) -> Iterator[Path]:
    """A folder for what is kept; a rehearsal that names none keeps nothing."""
    if args.work is None and args.rehearse:
        with tempfile.TemporaryDirectory(prefix="gpu-rehearsal-") as name:
            yield Path(name)
        return
    folder = (args.work or WORK).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _folder(args: argparse.Namespace) -> str:
    """A name for the device."""
    if args.rehearse:
        return "rehearsal"
    if not torch.cuda.is_available():
        return "gpu"
    return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(args.device).lower()).strip("-")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--part", type=_part, action="append", metavar="N", help="only this one: number or name")
    add("--plan", type=float, metavar="M", help="show which parts fit in M minutes; run nothing")
    add("--minutes", type=float, default=1e6, metavar="M", help="start no part that would not fit")
    add("--again", action="store_true", help="repeat what is done")
    add("--output", type=Path, metavar="FOLDER", help="default benchmarks/results/<device>")
    add("--work", type=Path, metavar="FOLDER", help="compiled code, runs, drawn data: build/gpu")
    add("--data", metavar="X.beton", help="the training set, or a folder with CIFAR-10's pieces")
    add("--device", metavar="cuda:N", help="default cuda; cpu in a rehearsal")
    add(
        "--sizes",
        type=wholes(2, 65536),
        default=(),
        metavar="N,...",
        help="batches, where several are compared (128,256,512,1024)",
    )
    add("--rehearse", action="store_true", help="tiny sizes on a CPU; figures mean nothing")
    args = parser.parse_args(argv)
    args.device = args.device or ("cpu" if args.rehearse else "cuda")
    if not args.rehearse and args.plan is None and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here; try the commands on a CPU with: --rehearse")
    args.output = args.output or RESULTS / _folder(args)
    return args


def _part(text: str) -> Part:
    named = {part.name: part for part in PARTS}
    numbered = {str(number): part for number, part in enumerate(PARTS, 1)}
    part = named.get(text) or numbered.get(text)
    if part is None:
        raise argparse.ArgumentTypeError(f"no part {text!r}; expected 1 to {len(PARTS)}")
    return part


if __name__ == "__main__":
    raise SystemExit(run_command(main))
