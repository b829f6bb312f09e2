"""Better, worse or within noise: `python -m benchmarks.compare A B`, or `RUNS --by SETTING`.

A and B are each a run, a folder of runs, or a JSON file of benchmarks.loader or benchmarks.step.
Runs that differ only in their seed are summarised together. What both sides have is compared
setting by setting; if each side has a single setting, those two are compared. The difference is
B minus A, with the 95 % interval of Welch's test; a mean over different conditions is refused.
With --assert-equal the losses of every epoch must be the same to the bit (exit 1 if not).
With --by one folder is enough: its runs that differ in one setting alone, such as augment.cutout,
are compared by its values, each with the default (A) or else the smallest. `--by run` compares the
runs of each experiment of a sweep, each with the first.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C in the seconds of the imports below
    from engine import signals

    signals.quit_early()

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare import arms, differences
from benchmarks.compare.differences import CompareResult, Comparison
from benchmarks.records.runs import read
from benchmarks.records.untrusted import printable
from engine.columns import columns
from engine.errors import OK, RunFailed, UserError, run_command
from engine.parser import Parser

PROGRAM = "python -m benchmarks.compare"


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    if args.by is not None:
        return _by(args)
    if args.b is None:
        raise UserError("the following arguments are required: B (or --by SETTING)")
    sides = [Path(args.a), Path(args.b)]
    files = [path.is_file() for path in sides]
    if any(files) and not all(files):
        raise UserError(f"{args.a} and {args.b}: compare runs with runs, or JSON with JSON")
    if args.assert_equal:
        if all(files):
            raise UserError("--assert-equal: runs have losses, a benchmark's JSON has none")
        count = differences.assert_equal(*(read(path) for path in sides))
        print(f"equal to the bit: the losses of {count} {'run' if count == 1 else 'runs'}")
        return OK
    if all(files):
        result = differences.of_files(*sides)
    else:
        result = differences.of_runs(*(read(path) for path in sides))
    return _report(
        result, f"{args.a} and {args.b} have nothing in common that could be compared", args.json
    )


def _by(args: argparse.Namespace) -> int:
    path = Path(args.a)
    if args.b is not None:
        raise UserError("--by: compares the runs of one folder; leave out the second")
    if args.assert_equal:
        raise UserError("--assert-equal: runs of different settings have different losses")
    if path.is_file():
        raise UserError(f"{args.a}: --by needs a folder of runs; a file has no settings")
    result = arms.of_arms(path, args.by)
    return _report(result, f"{args.a} has no runs that differ in {args.by} alone", args.json)


def _report(result: CompareResult, nothing: str, as_json: bool) -> int:
    if not result.comparisons:
        raise RunFailed(nothing + "".join(f"\n  {printable(note)}" for note in result.notes))
    if as_json:
        json.dump([each.as_json() for each in result.comparisons], sys.stdout, indent=2)
        print()
    else:
        print(_text(result.comparisons))
    for note in result.notes:
        print(printable(note), file=sys.stderr)
    return OK


def _text(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (
            each.what,
            each.measure,
            differences.figure(each.first, each.unit),
            differences.figure(each.second, each.unit),
            differences.change(each),
            differences.interval(each),
            each.verdict,
        )
        for each in comparisons
    ]
    head = ("what", "", "A", "B", "B minus A", "95 % interval", "B is")
    return columns(head, rows, right={2, 3, 4, 5})


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    parser.add_argument("a", metavar="A", help="before: a run, a folder of runs, or a JSON file")
    parser.add_argument("b", metavar="B", nargs="?", help="after: another of the same kind")
    parser.add_argument(
        "--by", metavar="SETTING", help="compare the runs of A by a setting, or by `run` of a sweep"
    )
    parser.add_argument(
        "--assert-equal", action="store_true", help="require the same losses to the bit"
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
