"""The plan as `--dry-run` shows it: every run with its state and its cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.columns import columns
from engine.sweep.estimate import Speeds
from engine.sweep.planned import Plan, PlannedRun, different
from engine.sweep.queue_rows import QueueRow
from engine.sweep.records import Records
from engine.sweep.status import DONE, SET_ASIDE, STATES, status_of

HEAD = ("run", "variant", "parameters", "epochs", "PFLOPs", "hours", "state")


class Overview:
    """The runs of a plan, or some of them, at this moment."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        records: Records,
        rows: Mapping[str, QueueRow],
        speeds: Speeds,
    ) -> None:
        self.speeds = speeds
        self.lines = [(run, status_of(run, records, rows), speeds.seconds(run)) for run in runs]
        states = {run.name: status.state for run, status, _ in self.lines}
        single = different(runs)
        left = [run for run in single if states[run.name] not in (DONE, SET_ASIDE)]
        self.different, self.left = len(single), len(left)
        self.states = Counter(states[run.name] for run in single)
        self.petaflops, self.petaflops_left = (
            sum(run.petaflops for run in some) for some in (single, left)
        )
        seconds, self.unknown = speeds.total(left)
        self.seconds_left = None if left and self.unknown == len(left) else seconds

    def text(self) -> str:
        """For a person."""
        rows = [
            (
                run.name,
                run.variant,
                f"{run.params:,}",
                str(run.config.train.epochs),
                _petaflops(run.petaflops),
                _hours(seconds),
                status.text(run.config.train.epochs),
            )
            for run, status, seconds in self.lines
        ]
        once = f", {self.different:,} of them different" * (self.different < len(rows))
        states = ", ".join(f"{self.states[each]:,} {each}" for each in STATES if self.states[each])
        hours = "hours left unknown"
        if self.seconds_left is not None:
            hours = f"{_hours(self.seconds_left)} hours left, one run at a time"
        more = f"; {self.unknown} of unknown length" * (0 < self.unknown < self.left)
        return "\n".join(
            [
                columns(HEAD, rows, right=range(2, 6)),
                "",
                f"{len(rows):,} runs{once}: {states}",
                f"{_petaflops(self.petaflops)} PFLOPs in all, "
                f"{_petaflops(self.petaflops_left)} of them left; {hours}{more}",
                self.speeds.basis(),
            ]
        )

    def content(self, plan: Plan) -> dict[str, Any]:
        """For a program: plan.json's runs with their state and estimated hours."""
        return plan.content() | {
            "runs": [
                run.content()
                | {
                    "state": status.state,
                    "epochs_done": status.epochs,
                    "estimated_hours": _in_hours(seconds),
                    "estimated_hours_by_others": _in_hours(self.speeds.seconds(run, own=False)),
                    "measured_hours": _in_hours(status.seconds),
                }
                for run, status, seconds in self.lines
            ],
            "totals": {
                "runs": len(self.lines),
                "different_runs": self.different,
                "petaflops": self.petaflops,
                "petaflops_left": self.petaflops_left,
                "estimated_hours_left": _in_hours(self.seconds_left),
                "runs_without_estimate": self.unknown,
                "states": dict(self.states),
            },
            "estimates": self.speeds.basis(),
            "estimated_from": self.speeds.content(),
        }


def _petaflops(value: float) -> str:
    return f"{value:,.3f}" if value >= 0.01 or not value else f"{value:.1e}"


def _in_hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds / 3600:,.2f}" if seconds >= 36 else f"{seconds / 3600:.4f}"
