"""The plan as `--dry-run` shows it: every run, how it stands, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.columns import columns
from engine.sweep.estimate import Speeds
from engine.sweep.plan import Plan, PlannedRun
from engine.sweep.queue import Row
from engine.sweep.results import Results
from engine.sweep.status import DONE, SET_ASIDE, STATES, status_of

HEAD = ("run", "variant", "parameters", "epochs", "PFLOPs", "hours", "state")


def text(
    runs: Sequence[PlannedRun], results: Results, rows: Mapping[str, Row], speeds: Speeds
) -> str:
    """For a person."""
    lines = [
        (
            run.name,
            run.variant,
            f"{run.params:,}",
            str(run.config.train.epochs),
            _petaflops(run.petaflops),
            _hours(speeds.seconds(run)),
            status_of(run, results, rows).text(run.config.train.epochs),
        )
        for run in runs
    ]
    table = columns(HEAD, lines, right=range(2, 6))
    return "\n".join([table, "", *_totals(runs, results, rows, speeds)])


def content(
    plan: Plan,
    runs: Sequence[PlannedRun],
    results: Results,
    rows: Mapping[str, Row],
    speeds: Speeds,
) -> dict[str, Any]:
    """For a program: plan.json's runs with their state and estimated seconds."""
    made = []
    for run in runs:
        status = status_of(run, results, rows)
        seconds = speeds.seconds(run)
        made.append(
            run.content()
            | {
                "state": status.state,
                "epochs_done": status.epochs,
                "estimated_hours": None if seconds is None else seconds / 3600,
            }
        )
    single = list(_once(runs).values())
    left = _left(single, results, rows)
    seconds, unknown = speeds.total(left)
    totals = {
        "runs": len(runs),
        "different_runs": len(single),
        "petaflops": sum(run.petaflops for run in single),
        "petaflops_left": sum(run.petaflops for run in left),
        "estimated_hours_left": seconds / 3600 if unknown < len(left) or not left else None,
        "runs_without_estimate": unknown,
        "states": dict(_states(single, results, rows)),
    }
    return plan.content() | {"runs": made, "totals": totals, "estimates": speeds.basis()}


def _totals(
    runs: Sequence[PlannedRun], results: Results, rows: Mapping[str, Row], speeds: Speeds
) -> list[str]:
    single = list(_once(runs).values())
    left = _left(single, results, rows)
    states = _states(single, results, rows)
    again = f", {len(single):,} of them different" if len(single) < len(runs) else ""
    seconds, unknown = speeds.total(left)
    hours = "-" if unknown and unknown == len(left) else _hours(seconds)
    more = f" and {unknown} of unknown length" if 0 < unknown < len(left) else ""
    total, rest = (sum(run.petaflops for run in some) for some in (single, left))
    return [
        f"{len(runs):,} runs{again}: "
        + ", ".join(f"{states[state]:,} {state}" for state in STATES if states[state]),
        f"{_petaflops(total)} PFLOPs in all, {_petaflops(rest)} of them left; "
        f"{hours} hours left, one run after another{more}",
        speeds.basis(),
    ]


def _states(runs: Sequence[PlannedRun], results: Results, rows: Mapping[str, Row]) -> Counter[str]:
    return Counter(status_of(run, results, rows).state for run in runs)


def _once(runs: Sequence[PlannedRun]) -> dict[str, PlannedRun]:
    """Each run once; without data its name has to tell them apart."""
    found: dict[str, PlannedRun] = {}
    for run in runs:
        found.setdefault(run.fingerprint or run.name, run)
    return found


def _left(
    runs: Sequence[PlannedRun], results: Results, rows: Mapping[str, Row]
) -> list[PlannedRun]:
    """Those that will still be made."""
    over = (DONE, SET_ASIDE)
    return [run for run in runs if status_of(run, results, rows).state not in over]


def _petaflops(value: float) -> str:
    return f"{value:,.3f}" if value >= 0.01 or not value else f"{value:.1e}"


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds / 3600:,.2f}" if seconds >= 36 else f"{seconds / 3600:.4f}"
