"""One page about many runs: reported against measured, plots, speed, every run in detail.

RUNS is the folder that runs and sweeps were written to. The page is one file that needs no network,
sorts and filters by itself, and prints. Beside it are the same figures as Markdown and CSV.
"""

from __future__ import annotations

if __name__ == "__main__":  # Ctrl-C in the seconds of the imports below
    from engine import signals

    signals.quit_early()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.records.runs import check_folder
from benchmarks.report import content, page, text
from benchmarks.report.mistakes import Allowance
from engine import atomic
from engine.errors import OK, run_command, with_path
from engine.parser import Parser

PROGRAM = "python -m benchmarks.report"
RESULTS = Path(__file__).resolve().parent.parent / "results"
SECONDS = 120.0  # of computing what networks get wrong, unless all is asked for
ALLOWED: dict[str, float | None] = {"auto": SECONDS, "all": None, "none": 0.0}


def main(argv: Sequence[str]) -> int:
    """The command."""
    asked = _arguments(argv)
    root, out = Path(asked.runs), Path(asked.out)

    def say(words: str) -> None:
        if not asked.quiet:
            print(words, file=sys.stderr, flush=True)

    check_folder(root)
    _make(out / "plots")
    allowance = Allowance(ALLOWED[asked.predictions])
    found = content.read(root, Path(asked.benchmarks), out / "predictions", allowance, say)
    files = {
        "index.html": page.html(found),
        "report.md": text.markdown(found),
        "runs.csv": text.runs_csv(found),
        "epochs.csv": text.epochs_csv(found),
        "reported.csv": text.reported_csv(found),
        **{f"plots/{plot.name}.svg": plot.svg for plot in found.plots()},
    }
    for old in (out / "plots").glob("plot*.svg"):
        if f"plots/{old.name}" not in files:
            old.unlink()
    for name, words in files.items():
        atomic.write_text(out / name, words)
    print(out / "index.html")
    return OK


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise with_path(error, error.filename or folder) from None


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("runs", metavar="RUNS", nargs="?", default="runs", help="default: runs")
    add("--out", metavar="FOLDER", default="report", help="where to write (default: report)")
    add(
        "--benchmarks",
        metavar="FOLDER",
        default=str(RESULTS),
        help="folders of benchmark JSON, one a machine (default: benchmarks/results)",
    )
    add(
        "--predictions",
        choices=tuple(ALLOWED),
        default="auto",
        help=f"confusions and worst images, from weights and test set: auto for {SECONDS:g} s, "
        "the best runs first; all; none (default: auto)",
    )
    add("--quiet", action="store_true", help="say nothing but errors and the page's path")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
