"""One page about many runs: reported against measured, plots, speed, the details of every run.

RUNS is the folder that runs and sweeps were written to. The page is a single file that needs no
network, with tables to sort and filter. Beside it are the same figures as Markdown and CSV.
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
from benchmarks.report.error_analysis import Allowance
from engine import atomic
from engine.errors import OK, run_command, with_path
from engine.parser import Parser

PROGRAM = "python -m benchmarks.report"
RESULTS = Path(__file__).resolve().parent.parent / "results"
SECONDS = 8.0  # for predictions, unless all are wanted
OWN_PLOTS = ("ablations-", "accuracy-against-", "curves", "speed-", "plot")  # to be replaced
ALLOWED: dict[str, float | None] = {"auto": SECONDS, "all": None, "none": 0.0}


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    root, out = Path(args.runs), Path(args.out)

    def notify(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    check_folder(root)
    _make(out / "plots")
    allowance = Allowance(ALLOWED[args.predictions])
    report = content.read(root, Path(args.benchmarks), out / "predictions", allowance, notify)
    notify("writing the page and the tables")
    files = {
        "index.html": page.html(report),
        "report.md": text.markdown(report),
        "runs.csv": text.runs_csv(report),
        "reported.csv": text.reported_csv(report),
        **{f"plots/{plot.name}.svg": plot.svg for plot in report.plots},
    }
    for old in (out / "plots").glob("*.svg"):
        if old.name.startswith(OWN_PLOTS) and f"plots/{old.name}" not in files:
            old.unlink()
    for name, written in files.items():
        atomic.write_text(out / name, written)
    with atomic.replacing(out / "epochs.csv") as partial, open(partial, "w") as file:
        file.writelines(text.epochs_csv(report))
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
        help="a folder of benchmark JSON per machine (default: benchmarks/results)",
    )
    add(
        "--predictions",
        choices=tuple(ALLOWED),
        default="auto",
        help="confusion matrices and worst test images, computed from the runs' weights: auto "
        f"spends up to {SECONDS:g} s, best runs first; all; none (default: auto)",
    )
    add("--quiet", action="store_true", help="print only errors and the page's path")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
