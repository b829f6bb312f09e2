"""Planned runs with their records: one per fingerprint, by conditions, and in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.records.conditions import Conditions, conditions_of
from benchmarks.records.plans import PlanEntry, SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report.verdicts import NOT_RUN

Records = dict[str, RunRecord]  # by fingerprint


def by_fingerprint(runs: Sequence[RunRecord]) -> Records:
    """One run per fingerprint; of copies, a finished one."""
    records: Records = {}
    for run in runs:
        key = run["fingerprint"]
        if key and (key not in records or (run.finished and not records[key].finished)):
            records[key] = run
    return records


def _conditions(plan: PlanEntry, records: Records) -> Conditions | None:
    """The conditions of a planned run; None if it has not recorded them yet."""
    run = records.get(plan.fingerprint)
    if run is None or not run["precision"]:
        return None
    return conditions_of(run, {plan.fingerprint: plan.scale})


def usual_conditions(
    plans: Iterable[PlanEntry], records: Records
) -> dict[tuple[float, int], Conditions]:
    """By scale and limit, the conditions of most runs: runs without a record are listed there."""
    counts: dict[tuple[float, int], Counter[Conditions]] = {}
    for plan in plans:
        conditions = _conditions(plan, records)
        if conditions is not None:
            counts.setdefault((plan.scale, plan.limit), Counter())[conditions] += 1
    return {key: count.most_common(1)[0][0] for key, count in counts.items()}


def split(
    group: Sequence[PlanEntry], records: Records, usual: dict[tuple[float, int], Conditions]
) -> list[tuple[Conditions, list[PlanEntry]]]:
    """The group by conditions, so that no mean is taken over several."""
    parts: dict[Conditions, list[PlanEntry]] = {}
    waiting: list[PlanEntry] = []
    for plan in group:
        conditions = _conditions(plan, records)
        (waiting if conditions is None else parts.setdefault(conditions, [])).append(plan)
    if waiting:
        scale, limit = group[0].scale, group[0].limit
        default = usual.get((scale, limit), Conditions(scale, limit))
        if parts and default not in parts:
            default = next(iter(parts))
        parts.setdefault(default, []).extend(waiting)
    return list(parts.items())


def state(plan: PlanEntry, records: Records, plans: SweepPlans) -> str:
    """A run's state by its record, or else by its sweep's queue."""
    run = records.get(plan.fingerprint)
    queued, _ = plans.queued.get(plan.fingerprint, ("", ""))
    if run is not None and (run.finished or queued not in ("failed", "set_aside")):
        return run.status
    return {"": NOT_RUN, "set_aside": "failed", "done": "record missing"}.get(queued, queued)


def errors(group: Sequence[PlanEntry], records: Records, plans: SweepPlans) -> Iterator[str]:
    """The errors of the runs that have not finished."""
    for plan in group:
        run = records.get(plan.fingerprint)
        _, error = plans.queued.get(plan.fingerprint, ("", ""))
        error = (run["error"] if run else None) or error
        if error and not (run and run.finished):
            yield f"{plan.name}: {error}"
