"""The report as Markdown and CSV: the same figures, for editors, terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from benchmarks import tables
from benchmarks.report import words
from benchmarks.report.content import Content

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets would run


def markdown(content: Content) -> str:
    """The tables and figures, the plots beside it in `plots/`."""
    parts = [f"# Benchmark report of {_escaped(str(content.root))}", _runs_line(content)]
    parts += [f"- {_escaped(problem)}" for problem in content.problems]
    parts.append("## Reported against measured")
    if not content.rows:
        parts.append("No sweep has a plan here, so there is nothing to hold the runs against.")
    for (report, conditions), rows in _grouped(content).items():
        parts.append(f"### Report {_escaped(report)}: {_escaped(conditions.words)}")
        parts.append(
            _table(
                ("experiment", "variant", "parameters", "recipe", "reported", "evidence",
                 "measured (last epoch)", "n", "chosen as reported", "difference", "verdict",
                 "notes"),
                [
                    (
                        f"{row.experiment} {row.title}",
                        row.label,
                        words.count(row.params),
                        row.recipe,
                        words.reported(row),
                        f"{row.claim.evidence}, {row.claim.statistic}" if row.claim else "",
                        words.measured(row.last),
                        str(row.last.n) if row.last else "0",
                        words.measured(row.alike if row.claim else None),
                        words.points(row.difference),
                        ", ".join((row.verdict, *row.flags, words.states(row))),
                        "; ".join(
                            [*([row.claim.note] if row.claim and row.claim.note else []),
                             *row.notes, *row.errors]
                        ),
                    )
                    for row in rows
                ],
            )
        )  # fmt: skip
    parts.append("## Plots")
    for plot in content.plots():
        alt = _escaped(plot.alt).replace("[", "(").replace("]", ")")
        parts.append(
            f"![{alt}](plots/{plot.name}.svg)\n\n"
            f"**{_escaped(plot.title)}** {_escaped(plot.caption)}"
        )
    parts.append("## Runs")
    parts.append(
        _table(
            ("run", "status", "network", "parameters", "epochs", "test %", "best %", "time",
             "images/s", "problem"),
            [
                (
                    run.folder, run.status, run["variant"] or "", words.count(run["params"]),
                    words.count(run["epochs"]), words.share(run["test_accuracy"]),
                    words.share(run["best_test_accuracy"]), words.time(run["seconds"]),
                    words.count(run["images_per_second"]),
                    "; ".join([*([run["error"]] if run["error"] else []), *run.problems]),
                )
                for run in content.runs
            ],
        )
    )  # fmt: skip
    return "\n\n".join(parts) + "\n"


def runs_csv(content: Content) -> str:
    """The tidy table of all runs."""
    return _csv(tables.frame(content.runs))


def epochs_csv(content: Content) -> str:
    """The tidy table of all epochs."""
    return _csv(tables.epochs_of(content.runs))


def reported_csv(content: Content) -> str:
    """Reported against measured, a line a reported value."""
    return _csv(pd.DataFrame(list(_reported(content)), columns=list(COLUMNS)))


COLUMNS = (
    "report", "experiment", "title", "variant", "network", "parameters", "recipe", "conditions",
    "full_length", "reported", "evidence", "statistic", "planned", "finished", "n", "last_mean",
    "last_std", "last_low", "last_high", "alike_mean", "alike_std", "difference", "verdict",
    "flags", "basis", "notes", "errors", "runs",
)  # fmt: skip


def _reported(content: Content) -> Iterator[tuple[Any, ...]]:
    for row in content.rows:
        claim, last, alike = row.claim, row.last, row.alike if row.claim else None
        yield (
            row.report, row.experiment, row.title, row.label, row.variant, row.params, row.recipe,
            row.conditions.words, row.conditions.full,
            claim.value if claim else None, claim.evidence if claim else None,
            claim.statistic if claim else None,
            row.planned, dict(row.states).get("finished", 0), last.n if last else 0,
            last.mean if last else None, last.std if last else None, last.low if last else None,
            last.high if last else None, alike.mean if alike else None,
            alike.std if alike else None, row.difference, row.verdict, "; ".join(row.flags),
            row.basis, "; ".join(row.notes), "; ".join(row.errors), "; ".join(row.runs),
        )  # fmt: skip


def _grouped(content: Content) -> dict[tuple[str, Any], list[Any]]:
    groups: dict[tuple[str, Any], list[Any]] = {}
    for row in content.rows:
        groups.setdefault((row.report or row.sweep, row.conditions), []).append(row)
    return groups


def _runs_line(content: Content) -> str:
    states = ", ".join(f"{number} {state}" for state, number in content.states.items())
    return f"{len(content.runs)} runs{f': {states}' if states else ''}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, one line."""
    text = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _csv(frame: pd.DataFrame) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([_cell(name) for name in frame.columns])
    for row in frame.astype(object).itertuples(index=False):
        writer.writerow([_cell(value) for value in row])
    return target.getvalue()


def _cell(value: Any) -> Any:
    """A cell that is no formula, whoever named the run."""
    if isinstance(value, (list, tuple, dict)):
        value = str(value)
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULAS) else value
    return "" if pd.isna(value) else value
