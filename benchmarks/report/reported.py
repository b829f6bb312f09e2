"""Reported against measured: each planned experiment with what its runs came to.

A row is one variant of one experiment under one set of conditions, with one reported value. The
figure is the last epoch's test accuracy; beside it stands the reported value's own statistic,
because a best epoch chosen on the test set may only be compared with another such.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records.conditions import Conditions, conditions_of, together
from benchmarks.records.plans import Claim, Planned, Plans
from benchmarks.records.runs import RunFile
from benchmarks.report.verdicts import MEASURED_BY, NOT_RUN, flags_of, verdict_of
from engine.statistics import Summary


@dataclass(frozen=True)
class Row:
    """One line of the tables."""

    report: str
    sweep: str
    experiment: str
    title: str
    label: str
    variant: str
    params: int | None
    petaflops: float | None
    recipe: str
    why: str
    conditions: Conditions
    claim: Claim | None
    last: Summary | None  # in per cent, of the last epoch
    alike: Summary | None  # in per cent, chosen as the reported value was
    planned: int
    states: tuple[tuple[str, int], ...]  # how many runs stand how
    verdict: str
    flags: tuple[str, ...]  # `over budget`, `misprint`
    basis: str  # what the noise was taken from
    notes: tuple[str, ...]
    errors: tuple[str, ...]
    runs: tuple[str, ...]  # folders

    @property
    def difference(self) -> float | None:
        """Measured less reported, in points, by the same statistic."""
        if self.claim is None or self.alike is None or not self.conditions.comparable:
            return None
        return self.alike.mean - self.claim.value


def rows(runs: Sequence[RunFile], plans: Plans) -> list[Row]:
    """Every planned experiment, full runs before shortened ones, nothing left out."""
    found = _by_fingerprint(runs)
    groups: dict[tuple[Any, ...], list[Planned]] = {}
    for planned in plans.runs:
        key = (
            planned.report or planned.sweep, planned.experiment, planned.label, planned.recipe,
            planned.scale, planned.limit,
        )  # fmt: skip
        group = groups.setdefault(key, [])
        if all(other.fingerprint != planned.fingerprint for other in group):
            group.append(planned)
    usual = _usual(groups.values(), found)
    result: list[Row] = []
    for group in groups.values():
        for conditions, of_group in _split(group, found, usual):
            result += _rows_of(of_group, conditions, found, plans)
    return sorted(result, key=_order)


def _by_fingerprint(runs: Sequence[RunFile]) -> dict[str, RunFile]:
    """One folder a fingerprint; a finished one where a run was copied."""
    found: dict[str, RunFile] = {}
    for run in runs:
        key = run["fingerprint"]
        if key and (key not in found or (run.finished and not found[key].finished)):
            found[key] = run
    return found


def _usual(groups: Any, found: dict[str, RunFile]) -> dict[tuple[float, int], Conditions]:
    """By scale and limit, the conditions of most runs: where those without a record are listed."""
    counts: dict[tuple[float, int], Counter[Conditions]] = {}
    for planned in (planned for group in groups for planned in group):
        run = found.get(planned.fingerprint)
        if run is not None and run["precision"]:
            counts.setdefault((planned.scale, planned.limit), Counter())[_under(planned, run)] += 1
    return {key: count.most_common(1)[0][0] for key, count in counts.items()}


def _under(planned: Planned, run: RunFile) -> Conditions:
    return dataclasses.replace(
        conditions_of(run), scale=planned.scale, limit=planned.limit or int(run["limit"] or 0)
    )


def _split(
    group: Sequence[Planned],
    found: dict[str, RunFile],
    usual: dict[tuple[float, int], Conditions],
) -> list[tuple[Conditions, list[Planned]]]:
    """The group by conditions, so that no mean is ever taken over two of them."""
    parts: dict[Conditions, list[Planned]] = {}
    waiting: list[Planned] = []
    for planned in group:
        run = found.get(planned.fingerprint)
        if run is None or not run["precision"]:
            waiting.append(planned)
        else:
            parts.setdefault(_under(planned, run), []).append(planned)
    if waiting:
        scale, limit = group[0].scale, group[0].limit
        default = usual.get((scale, limit), Conditions(scale, limit))
        if parts and default not in parts:
            default = next(iter(parts))
        parts.setdefault(default, []).extend(waiting)
    return list(parts.items())


def _rows_of(
    group: Sequence[Planned], conditions: Conditions, found: dict[str, RunFile], plans: Plans
) -> list[Row]:
    first = group[0]
    runs = [found[p.fingerprint] for p in group if p.fingerprint in found]
    done = [run for run in runs if run.finished]
    states = Counter(_state(planned, found, plans) for planned in group)
    claims: list[Claim | None] = list(
        dict.fromkeys(claim for planned in group for claim in planned.reported)
    )
    notes = tuple(dict.fromkeys(note for planned in group for note in planned.notes))
    scales = dict.fromkeys((p.fingerprint for p in group), conditions.scale)
    last = _percent(together(done, "test_accuracy", scales))
    result = []
    for claim in claims or [None]:
        key = MEASURED_BY.get(claim.statistic, "test_accuracy") if claim else "test_accuracy"
        alike = _percent(together(done, key, scales))
        verdict, basis = verdict_of(claim, conditions, done, key, states)
        result.append(
            Row(
                report=first.report,
                sweep=first.sweep,
                experiment=first.experiment,
                title=first.title,
                label=first.label,
                variant=first.variant,
                params=first.params,
                petaflops=first.petaflops,
                recipe=first.recipe,
                why=first.why,
                conditions=conditions,
                claim=claim,
                last=last,
                alike=alike,
                planned=len(group),
                states=tuple(sorted(states.items())),
                verdict=verdict,
                flags=flags_of(first.params, claim, notes),
                basis=basis,
                notes=notes,
                errors=tuple(_errors(group, found, plans)),
                runs=tuple(run.folder for run in runs),
            )
        )
    return result


def _state(planned: Planned, found: dict[str, RunFile], plans: Plans) -> str:
    """How a run stands: by its record, else by its sweep's queue."""
    run = found.get(planned.fingerprint)
    queued, _ = plans.queued.get(planned.fingerprint, ("", ""))
    if run is not None and (run.finished or queued not in ("failed", "set_aside")):
        return run.status
    if queued == "done":
        return "record missing"
    return {"": NOT_RUN, "set_aside": "failed"}.get(queued, queued)


def _errors(group: Sequence[Planned], found: dict[str, RunFile], plans: Plans) -> list[str]:
    said = []
    for planned in group:
        run = found.get(planned.fingerprint)
        error = (run["error"] if run else None) or plans.queued.get(planned.fingerprint, ("",) * 2)[
            1
        ]
        if error and not (run and run.finished):
            said.append(f"{planned.name}: {error}")
    return said


def _percent(found: Summary | None) -> Summary | None:
    if found is None:
        return None
    parts = (found.mean, found.std, found.low, found.high)
    return Summary(found.n, *(None if part is None else 100 * part for part in parts))  # type: ignore[arg-type]


def _order(row: Row) -> tuple[Any, ...]:
    tokens = re.findall(r"\d+|\D+", row.experiment)
    numbers = [(0, int(token), "") if token.isdecimal() else (1, 0, token) for token in tokens]
    return (row.report or "~", not row.conditions.full, row.conditions, numbers)
