"""The plan of a sweep: every run with its configuration, cost, fingerprint and folder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from engine.config import checks
from engine.config.fields import Problems, check
from engine.config.fingerprint import fingerprint
from engine.config.options import merge
from engine.config.schema import Config, as_dict
from engine.config.values import Entry
from engine.errors import UserError
from engine.model import Variant, budget, resolve
from engine.model.naming import name_of
from engine.runs import compatibility
from engine.sweep.data import DataFiles, ImageCounts, counts
from engine.sweep.experiments import Experiment, SweepFiles
from engine.sweep.points import Point, points_of
from engine.sweep.reported import ReportedValue
from engine.sweep.scale import scaled

FORMAT = 1
MOST_RUNS = 100_000
LONGEST_LABEL = 120  # of a folder's name


@dataclass(frozen=True)
class PlannedRun:
    """One run, known to the last setting before anything begins."""

    name: str  # `4.1/resnet1111/s0`
    point: str  # the same without the seed: runs of one point make one result
    report: str
    experiment: str
    title: str
    recipe: str | None
    why: str
    variant: str
    params: int
    petaflops: float  # of training and evaluation
    seed: int
    config: Config  # its run.name is the folder
    differs: dict[str, Any]  # what the experiment's runs and axes set, by dotted name
    fingerprint: str  # empty where the data is not there
    folder: str
    reported: tuple[ReportedValue, ...]
    notes: tuple[str, ...]
    epochs_unscaled: int

    def content(self) -> dict[str, Any]:
        """As plan.json has it."""
        kept = (
            "name", "report", "experiment", "title", "recipe", "why", "variant", "params",
            "petaflops", "seed", "differs", "fingerprint", "folder",
        )  # fmt: skip
        return {name: getattr(self, name) for name in kept} | {
            "config": as_dict(self.config),
            "reported": [value.content() for value in self.reported],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep."""

    name: str  # of its folder below <run.root>/sweeps
    sweep: str
    title: str
    epochs_scale: float
    data_limit: int
    runs: tuple[PlannedRun, ...]

    def content(self) -> dict[str, Any]:
        """plan.json."""
        return {
            "format": FORMAT,
            "sweep": self.sweep,
            "title": self.title,
            "conditions": {"epochs_scale": self.epochs_scale, "data_limit": self.data_limit},
            "runs": [run.content() for run in self.runs],
        }


@dataclass(frozen=True)
class Overrides:
    """What the command line sets for all runs."""

    entries: tuple[Entry, ...] = ()  # settings, which win over the files'
    seeds: tuple[int, ...] | None = None  # in place of the files'
    epochs_scale: float = 1.0


def make_plan(
    paths: Sequence[Path],
    sweep_files: SweepFiles,
    overrides: Overrides,
    data: DataFiles,
    problems: list[str],
) -> Plan:
    """The plan of `sweep_files`, read from `paths`; what is wrong is added to `problems`."""
    runs: list[PlannedRun] = []
    for experiment in sweep_files.experiments:
        seeds = experiment.seeds if overrides.seeds is None else overrides.seeds
        for point in points_of(experiment, problems):
            config = _configured(point, overrides, data, problems)
            if config is None:
                continue
            if len(runs) + len(seeds) > MOST_RUNS:
                problems.append(f"{experiment.place}: more than {MOST_RUNS:,} runs in one sweep")
                break
            scale = overrides.epochs_scale
            runs += [_planned(experiment, point, config, seed, scale, data) for seed in seeds]
    sweep = "+".join(dict.fromkeys(path.stem for path in paths))[:LONGEST_LABEL]
    limit = merge(Config, overrides.entries).config.data.limit
    scale = overrides.epochs_scale
    name = sweep + (f".epochs-{scale:g}" if scale != 1 else "") + (f".limit-{limit}" * bool(limit))
    title = "; ".join(dict.fromkeys(sweep_files.titles))
    return Plan(name, sweep, title, scale, limit, tuple(runs))


def different(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Each run once: experiments may share one. Without data, its path stands for its digest."""
    once: dict[str, PlannedRun] = {}
    for run in runs:
        paths = {"train": run.config.data.train, "test": run.config.data.test}
        once.setdefault(run.fingerprint or fingerprint(run.config, paths), run)
    return list(once.values())


def selected(runs: Sequence[PlannedRun], globs: Sequence[str]) -> list[PlannedRun]:
    """The runs whose name, point, experiment or report matches one of `globs`; all without."""
    return [run for run in runs if not globs or any(_matches(run, glob) for glob in globs)]


def _matches(run: PlannedRun, glob: str) -> bool:
    names = (run.name, run.point, run.experiment, run.report)
    return any(fnmatchcase(name, glob) for name in names)


def _configured(
    point: Point, overrides: Overrides, data: DataFiles, problems: list[str]
) -> Config | None:
    """The point's configuration, or None where something is wrong with it."""

    @check("data.", "augment.", "model.", "train.")
    def fits_its_data(config: Config) -> Problems:
        train, test = data.of(config)
        try:
            images = counts(config, train, test).train
        except UserError as error:
            key, _, message = str(error).partition(" ")
            yield key, message
            return
        yield from compatibility.problems(config, train.classes, train.side, images)

    entries = (*point.entries, *overrides.entries)
    merged = merge(Config, entries, (*checks.TRAINING, fits_its_data), origin=point.place)
    problems += [*merged.wrong_values, *merged.contradictions]
    if merged.wrong_values or merged.contradictions:
        return None
    return merged.config


def _planned(
    experiment: Experiment,
    point: Point,
    unscaled: Config,
    seed: int,
    scale: float,
    data: DataFiles,
) -> PlannedRun:
    config = scaled(unscaled, scale)
    config = replace(config, train=replace(config.train, seed=seed))
    train, test = data.of(config)
    images = counts(config, train, test)
    variant = resolve(config.model)
    label, params, flops = _cost(variant, train.classes, train.side)
    identity = ""
    if train.sha256 and test.sha256:
        identity = fingerprint(config, {"train": train.sha256, "test": test.sha256})
    folder = f"{label[:LONGEST_LABEL]}-s{seed}-{identity[:8] or 'unknown'}"
    values = {
        f"{section}.{key}": value
        for section, settings in as_dict(config).items()
        for key, value in settings.items()
    }
    name = point.name + (label if point.name.endswith("/") else "")
    return PlannedRun(
        name=f"{name}/s{seed}",
        point=name,
        report=experiment.report,
        experiment=experiment.id,
        title=experiment.title,
        recipe=None if point.recipe is None else point.recipe.name,
        why=point.why,
        variant=label,
        params=params,
        petaflops=operations(config, flops, images) / 1e15,
        seed=seed,
        config=replace(config, run=replace(config.run, name=folder)),
        differs={key: values[key] for key in point.differing},
        fingerprint=identity,
        folder=folder,
        reported=point.reported,
        notes=point.notes,
        epochs_unscaled=unscaled.train.epochs,
    )


def operations(config: Config, flops: budget.Flops, images: ImageCounts) -> float:
    """Floating-point operations of a whole run, its evaluations among them."""
    epochs, every = config.train.epochs, config.train.evaluate_every
    evaluations = -(-epochs // every)  # the last epoch always has one
    tested = images.test if images.validated else 0
    evaluated = evaluations * images.watched + tested
    return float(flops.training * images.train * epochs + flops.forward * evaluated)


@functools.cache
def _cost(variant: Variant, classes: int, side: int) -> tuple[str, int, budget.Flops]:
    total = budget.parameters(variant, classes, side=side).total
    return name_of(variant), total, budget.flops(variant, classes, side=side)
