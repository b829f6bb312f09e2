"""The report as Markdown and CSV: the same figures, for editors, terminals and spreadsheets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmarks import tables
from benchmarks.report import formats
from benchmarks.report.content import Report
from benchmarks.report.leaderboard import Leaderboard
from benchmarks.report.markdown import escaped, markdown_table
from benchmarks.report.time_to import NOT_YET

RUNS_AT_ONCE = 100  # whose epochs are a table
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets would execute
REPORTED = (
    "experiment", "variant", "parameters", "recipe", "reported", "evidence",
    "measured (last epoch)", "n", "measured as reported", "difference", "verdict", "notes",
)  # fmt: skip
BEST = (
    "network", "experiments", "accuracy", "n", "settings", "parameters", "PFLOPs", "time",
    "training",
)  # fmt: skip
RUNS = (
    "run", "status", "network", "parameters", "epochs", "test %", "best %", "time", "images/s",
    "problem",
)  # fmt: skip


def markdown(report: Report) -> str:
    """The tables and texts; its plots are the files in `plots/`."""
    states = ", ".join(f"{number} {state}" for state, number in report.states.items())
    parts = [
        f"# Benchmark report of {escaped(str(report.root))}",
        f"{len(report.runs)} runs{f': {states}' if states else ''}.",
        *(f"- {escaped(problem)}" for problem in report.problems),
        "## The best of these runs",
        *itertools.chain(*(_board(report, board) for board in report.boards if board.leaders)),
        "## Reported against measured",
    ]
    if not report.results:
        parts.append("There is no sweep here, so there is nothing to compare the runs with.")
    for section, by_conditions in report.tables.items():
        for conditions, results in by_conditions.items():
            parts.append(f"### Report {escaped(section)}: {escaped(conditions.words)}")
            rows = [
                (
                    result.plan.heading, result.plan.label, formats.count(result.plan.params),
                    result.plan.recipe, formats.reported(result),
                    formats.claimed(result.reported) if result.reported else "",
                    formats.measured(result.last), str(result.last.n) if result.last else "0",
                    formats.as_reported(result), formats.difference(result),
                    ", ".join((result.verdict, *result.flags, formats.states(result))),
                    "; ".join(filter(None, (formats.remarks(result), *result.errors))),
                )
                for result in results
            ]  # fmt: skip
            parts.append(markdown_table(REPORTED, rows))
    parts += ["## Time to an accuracy", *_times(report)]
    parts.append("## Plots")
    for plot in report.plots:
        alt = escaped(plot.alt).replace("[", "(").replace("]", ")")
        parts.append(
            f"![{alt}](plots/{plot.name}.svg)\n\n**{escaped(plot.title)}** {escaped(plot.caption)}"
        )
    parts.append("## Runs")
    runs = [
        (
            run.folder, run.status, run["variant"] or "", formats.count(run["params"]),
            formats.number(run.passes), formats.share(run["test_accuracy"]),
            formats.share(run["best_test_accuracy"]), formats.time(run["seconds"]),
            formats.count(run["images_per_second"]),
            "; ".join(filter(None, (run["error"], *run.problems))),
        )
        for run in report.runs
    ]  # fmt: skip
    parts.append(markdown_table(RUNS, runs))
    return "\n\n".join(parts) + "\n"


def _board(report: Report, board: Leaderboard) -> Iterator[str]:
    """The finished runs under one set of conditions, best first."""
    yield f"### {escaped(board.conditions.words.capitalize())}"
    rows = []
    for leader in board.leaders:
        group = leader.group
        chance = report.chance.get(group.runs[0].folder)
        rows.append(
            (
                group.runs[0].name, group.experiments, formats.measured(group.accuracy)
                + ("" if chance is None else f" (chance: {chance:g})"), str(group.accuracy.n),
                " ".join(leader.settings), formats.count(group.params),
                formats.work(group.median("petaflops")), formats.time(group.median("seconds")),
                formats.training(group.runs[0]),
            )
        )  # fmt: skip
    yield markdown_table(BEST, rows)


def _times(report: Report) -> Iterator[str]:
    """The tables of each machine, with their conditions."""
    if not report.times:
        yield NOT_YET
    for times in report.times:
        yield "\n".join(f"- {escaped(line)}" for line in times.conditions)
        for title, head, rows in times.tables():
            yield f"**{escaped(title)}**"
            yield markdown_table(head, rows)
        yield escaped(times.goal)


def runs_csv(report: Report) -> str:
    """The table of all runs."""
    return _csv(tables.frame(report.runs))


def epochs_csv(report: Report) -> Iterator[str]:
    """The table of all epochs, in parts: whole it may be larger than all else."""
    for start in range(0, max(1, len(report.runs)), RUNS_AT_ONCE):
        part = tables.epochs_of(report.runs[start : start + RUNS_AT_ONCE])
        yield _csv(part, header=start == 0)


def reported_csv(report: Report) -> str:
    """Reported against measured, one row per reported value."""
    return _csv(pd.DataFrame(list(_reported(report)), columns=list(COLUMNS)))


TYPED = (
    "measure", "epoch", "until", "selection", "estimator", "read", "precision", "run",
)  # fmt: skip
COLUMNS = (
    "report", "experiment", "title", "variant", "network", "parameters", "recipe", "conditions",
    "full_length", "reported", "evidence", "statistic", *TYPED, "planned", "finished", "n",
    "last_mean", "last_std", "last_low", "last_high", "alike_mean", "alike_std", "difference",
    "verdict", "flags", "basis", "notes", "errors", "runs",
)  # fmt: skip


def _reported(report: Report) -> Iterator[tuple[Any, ...]]:
    for result in report.results:
        plan, reported, last, as_reported = (
            result.plan,
            result.reported,
            result.last,
            result.as_reported,
        )
        yield (
            plan.report, plan.experiment, plan.title, plan.label, plan.variant, plan.params,
            plan.recipe, result.conditions.words, result.conditions.full,
            *(
                getattr(reported, key, None)
                for key in ("value", "evidence", "statistic", *TYPED)
            ),
            result.planned, dict(result.states).get("finished", 0), last.n if last else 0,
            *((last.mean, last.std, last.low, last.high) if last else [None] * 4),
            *((as_reported.mean, as_reported.std) if as_reported else [None] * 2),
            result.difference, result.verdict, "; ".join(result.flags), result.basis,
            "; ".join(result.notes), "; ".join(result.errors), "; ".join(result.runs),
        )  # fmt: skip


def _csv(frame: pd.DataFrame, *, header: bool = True) -> str:
    texts = {
        name: frame[name].map(_cell)
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name])
    }
    cells = frame.assign(**texts).rename(columns=_cell)  # numbers are written as they are
    return str(cells.to_csv(index=False, header=header, lineterminator="\n"))


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, whatever a run is called."""
    if isinstance(value, (list, tuple, dict)):
        value = str(value)
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULAS) else value
    return "" if pd.isna(value) else value
