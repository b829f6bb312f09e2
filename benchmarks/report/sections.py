"""Reports and sweeps on the page: tables of what was begun, a line for all other experiments."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.records.conditions import Conditions
from benchmarks.report.content import Report
from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.paper_tables import paper_tables
from benchmarks.report.verdicts import NOT_RUN


def sections(report: Report) -> list[dict[str, Any]]:
    """The reader's own sweeps, then the reports of which something was begun, then the rest."""
    unsorted = [_section(report, name, tables) for name, tables in report.tables.items()]
    return sorted(unsorted, key=lambda each: (each["reported"], not each["tables"]))


def _section(
    report: Report, name: str, tables: Mapping[Conditions, Sequence[ExperimentResult]]
) -> dict[str, Any]:
    """A table per set of conditions of what was begun, a line for every other experiment."""
    begun: dict[Conditions, list[ExperimentResult]] = {}
    waiting: dict[tuple[str, Conditions], list[ExperimentResult]] = {}
    for conditions, results in tables.items():
        started = {result.plan.heading for result in results if _is_begun(result)}
        for result in results:
            if result.plan.heading in started:
                begun.setdefault(conditions, []).append(result)
            else:
                waiting.setdefault((result.plan.heading, conditions), []).append(result)
    by_experiment: dict[str, list[ExperimentResult]] = {}
    recipes: dict[tuple[str, str], list[str]] = {}  # with its reason: the experiments
    for result in itertools.chain(*tables.values()):
        plan = result.plan
        by_experiment.setdefault(plan.heading, []).append(result)
        experiments = recipes.setdefault((plan.recipe, plan.why), []) if plan.why else []
        if plan.experiment not in experiments:
            experiments.append(plan.experiment)
    return {
        "title": f"Report {name}" if name.isdigit() else f"Sweep {name}",
        "reported": any(result.reported for result in itertools.chain(*tables.values())),
        "tables": begun,
        "waiting": [
            (heading, conditions, _waiting(results), results)
            for (heading, conditions), results in waiting.items()
        ],
        "curves": report.curves.get(name, []),
        "ablations": report.ablations.get(name, []),
        "recipes": recipes,
        "papers": paper_tables(name) if begun and name.isdigit() else [],
        "notes": {  # that all results of an experiment share: shown once, below the tables
            heading: notes
            for heading, results in by_experiment.items()
            if len(results) > 1
            and (notes := [n for n in results[0].notes if all(n in r.notes for r in results)])
        },
    }


def _is_begun(result: ExperimentResult) -> bool:
    return any(state not in (NOT_RUN, "queued") for state, _ in result.states)


def _waiting(results: Sequence[ExperimentResult]) -> str:
    """`12 settings, 36 runs: not run`."""
    settings = {result.plan.label: result.planned for result in results}
    states = dict.fromkeys(state for result in results for state, _ in result.states)
    words = f"{len(settings)} {'setting' if len(settings) == 1 else 'settings'}"
    runs = sum(settings.values())
    return f"{words}, {runs} {'run' if runs == 1 else 'runs'}: {', '.join(states)}"
