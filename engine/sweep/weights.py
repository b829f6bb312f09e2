"""The weights that runs of a sweep start from: files, or the weights of other runs of the sweep.

A run that starts from another one waits until that has its result. Only then are its weights, and
so its own fingerprint and folder, known; until then both stand for what is planned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.config.schema import Config, Model
from engine.config.wording import did_you_mean, shown
from engine.errors import UserError
from engine.model import resolve
from engine.sweep.data import DataFile, DataFiles
from engine.sweep.planned import Plan, PlannedRun, identified
from engine.sweep.records import Records


class WeightsFiles:
    """The files that `model.weights` names; each is read once per network."""

    def __init__(self) -> None:
        self._known: dict[object, str | UserError] = {}

    def problems(self, model: Model, train: DataFile) -> Iterator[tuple[str, str]]:
        """Why a network cannot start from its file, as (dotted key, message)."""
        try:
            self.digest(model, train)
        except UserError as error:
            for problem in error.problems:
                yield "model.weights", problem.removeprefix("model.weights: ")

    def digest(self, model: Model, train: DataFile) -> str:
        """The digest of the file, empty where no weights are loaded; may be refused."""
        if not model.weights:
            return ""
        key = (model.weights, model.weights_classifier, resolve(model), train.classes, train.side)
        if key not in self._known:
            from engine.runs import initial_weights  # loads torch, for weights only

            try:
                weights = initial_weights.read(model, train.classes, train.side)
                self._known[key] = "" if weights is None else weights.sha256
            except UserError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, UserError):
            raise known
        return known


def source_of(name: str, experiment: str, seed: int, runs: list[PlannedRun]) -> PlannedRun | str:
    """The run that `weights_from: name` means, or a message why there is none.

    It is one of `runs`, which come before: so no two runs wait for each other.
    """
    point = name if "/" in name else f"{experiment}/{name}"
    matches = [run for run in runs if run.point == point]
    if not matches:
        points = list(dict.fromkeys(run.point for run in runs))
        return f"{shown(name)}: no run of this name comes before{did_you_mean(point, points)}"
    for run in matches:
        if run.seed == seed:
            return run
    return f"{shown(name)}: that run has no seed {seed}"


def misfits(config: Config, source: PlannedRun, data: DataFiles) -> list[str]:
    """Why a network cannot start from the weights of the run `source`."""
    networks = []
    for each in (source.config, config):
        train, _ = data.of(each)
        networks.append((resolve(each.model), train.classes, train.side))
    if networks[0] == networks[1]:
        return []
    from engine.runs import initial_weights  # loads torch

    layouts = [initial_weights.layout_of(*network) for network in networks]
    new = config.model.weights_classifier == "new"
    return list(initial_weights.misfits(*layouts, new_classifier=new))


def with_results(plan: Plan, records: Records, data: DataFiles) -> Plan:
    """The plan in which runs whose source has finished have its weights."""
    runs: list[PlannedRun] = []
    by_name: dict[str, PlannedRun] = {}
    for run in plan.runs:
        source = by_name.get(run.weights_from)
        if run.waiting and source is not None and not source.waiting:
            record = records.finished(source.fingerprint)
            folder = records.folder(source.fingerprint)
            if record is not None and folder is not None:
                model = replace(run.config.model, weights=str(folder))
                known = replace(
                    run,
                    config=replace(run.config, model=model),
                    weights=str(record.get("weights_sha256")),
                    waiting=False,
                )
                run = identified(known, data)
        by_name[run.name] = run
        runs.append(run)
    return replace(plan, runs=tuple(runs))
