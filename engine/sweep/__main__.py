"""Train all runs of a report: `python -m engine.sweep --sweep-file configs/sweeps/report_004.yaml`."""

from __future__ import annotations

if __name__ == "__main__":  # a signal in the seconds of the imports below is to be heard as well
    from engine import signals

    signals.listen_early()

import json
import sys
from collections.abc import Sequence

from engine.errors import OK, run_command
from engine.sweep.asked import Asked, ask


def main(argv: Sequence[str]) -> int:
    """The command: show the plan, show the results, or run."""
    asked = ask(argv)
    for warning in asked.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return show(asked)


def show(asked: Asked) -> int:
    """The plan, as a table or as JSON."""
    if "json" in asked.flags:
        print(json.dumps(asked.plan.content(), indent=2))
        return OK
    for run in asked.runs:
        print(f"{run.name}  {run.variant}  {run.params:,}  {run.petaflops:.3f}  {run.folder}")
    total = sum(run.petaflops for run in asked.runs)
    print(f"{len(asked.runs)} runs, {total:,.1f} PFLOPs")
    return OK


if __name__ == "__main__":
    raise SystemExit(run_command(main))
