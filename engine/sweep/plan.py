"""The plan of a sweep: every run with its configuration, cost, fingerprint and folder."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from engine.config import checks
from engine.config.fields import Problems, check
from engine.config.options import merge
from engine.config.schema import Config, as_dict
from engine.config.values import Entry, Scalar
from engine.errors import UserError
from engine.model import Variant, budget, resolve
from engine.model.naming import name_of
from engine.runs import compatibility
from engine.runs.work import VIEWS, work_of
from engine.sweep.data import DataFile, DataFiles, ImageCounts, counts
from engine.sweep.experiments import Experiment, SweepFiles
from engine.sweep.planned import LONGEST_LABEL, Plan, PlannedRun, identified
from engine.sweep.points import Point, points_of
from engine.sweep.scale import scaled
from engine.sweep.weights import WeightsFiles, misfits, source_of

MOST_RUNS = 100_000


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
    weights = WeightsFiles()
    for experiment in sweep_files.experiments:
        seeds = experiment.seeds if overrides.seeds is None else overrides.seeds
        for point in points_of(experiment, problems):
            config = _configured(point, overrides, data, weights, problems)
            if config is None:
                continue
            if len(runs) + len(seeds) > MOST_RUNS:
                problems.append(f"{experiment.place}: more than {MOST_RUNS:,} runs in one sweep")
                break
            scale = overrides.epochs_scale
            run = _planned(experiment, point, config, scale, data, weights)
            planned = [_seeded(run, seed, data) for seed in seeds]
            if point.weights_from:
                planned = [_started(run, point, runs, data, problems) for run in planned]
            runs += planned
    sweep = "+".join(dict.fromkeys(path.stem for path in paths))[:LONGEST_LABEL]
    limit = merge(Config, overrides.entries).config.data.limit
    scale = overrides.epochs_scale
    name = sweep + (f".epochs-{scale:g}" if scale != 1 else "") + (f".limit-{limit}" * bool(limit))
    title = "; ".join(dict.fromkeys(sweep_files.titles))
    return Plan(name, sweep, title, scale, limit, tuple(runs))


def selected(runs: Sequence[PlannedRun], globs: Sequence[str]) -> list[PlannedRun]:
    """The runs whose name, point, experiment or report matches one of `globs`; all without."""
    return [run for run in runs if not globs or any(_matches(run, glob) for glob in globs)]


def _matches(run: PlannedRun, glob: str) -> bool:
    names = (run.name, run.point, run.experiment, run.report)
    return any(fnmatchcase(name, glob) for name in names)


def _configured(
    point: Point,
    overrides: Overrides,
    data: DataFiles,
    weights: WeightsFiles,
    problems: list[str],
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
        wrong = list(compatibility.problems(config, train.classes, train.side, images))
        yield from wrong
        if not wrong and not point.weights_from:
            yield from weights.problems(config.model, train)

    entries = (*point.entries, *overrides.entries)
    if point.weights_from:
        if any(entry.key == "model.weights" for entry in entries):
            problems.append(f"{point.place}: weights_from: model.weights is given too; keep one")
            return None
        entries += (Entry("model.weights", Scalar(point.weights_from), point.place),)
    merged = merge(Config, entries, (*checks.TRAINING, fits_its_data), origin=point.place)
    problems += [*merged.wrong_values, *merged.contradictions]
    if merged.wrong_values or merged.contradictions:
        return None
    return merged.config


def _planned(
    experiment: Experiment,
    point: Point,
    unscaled: Config,
    scale: float,
    data: DataFiles,
    weights: WeightsFiles,
) -> PlannedRun:
    """What all seeds of the point have in common."""
    config = scaled(unscaled, scale)
    train, test = data.of(config)
    images = counts(config, train, test)
    variant = resolve(config.model)
    label, params, forward = _cost(variant, train.classes, train.side)
    values = {
        f"{section}.{key}": value
        for section, settings in as_dict(config).items()
        for key, value in settings.items()
    }
    name = point.name + (label if point.name.endswith("/") else "")
    return PlannedRun(
        name=name,
        point=name,
        report=experiment.report,
        experiment=experiment.id,
        title=experiment.title,
        recipe=None if point.recipe is None else point.recipe.name,
        why=point.why,
        variant=label,
        params=params,
        petaflops=operations(config, train, forward, images) / 1e15,
        seed=config.train.seed,
        config=config,
        differs={key: values[key] for key in point.differing},
        fingerprint="",
        folder="",
        reported=point.reported,
        notes=point.notes,
        epochs_unscaled=unscaled.train.epochs,
        image_side=train.side,
        weights="" if point.weights_from else weights.digest(config.model, train),
    )


def _seeded(run: PlannedRun, seed: int, data: DataFiles) -> PlannedRun:
    """The run with this seed."""
    config = replace(run.config, train=replace(run.config.train, seed=seed))
    return identified(replace(run, name=f"{run.point}/s{seed}", seed=seed, config=config), data)


def _started(
    run: PlannedRun, point: Point, before: list[PlannedRun], data: DataFiles, problems: list[str]
) -> PlannedRun:
    """The run as it waits for the weights of one of those `before` it."""
    source = source_of(point.weights_from, run.experiment, run.seed, before)
    if isinstance(source, str):
        problems.append(f"{point.place}: weights_from: {source}")
        return run
    wrong = misfits(run.config, source, data)
    problems += [f"{point.place}: weights_from: {source.point}: {each}" for each in wrong]
    folder = Path(run.config.run.root) / source.folder
    config = replace(run.config, model=replace(run.config.model, weights=str(folder)))
    stand_in = f"of {source.fingerprint or source.name}"
    waiting = replace(run, config=config, weights_from=source.name, weights=stand_in, waiting=True)
    return identified(waiting, data)


def operations(config: Config, file: DataFile, forward: int, images: ImageCounts) -> float:
    """Floating-point operations of a whole run, its evaluations among them."""
    epochs, every = config.train.epochs, config.train.evaluate_every
    evaluations = -(-math.ceil(epochs) // every)  # the last epoch always has one
    tested = images.test if images.validated else 0
    evaluated = evaluations * images.watched + tested + VIEWS[config.train.tta] * images.test
    work = work_of(config, images.train, classes=file.classes, side=file.side)
    return float(work.total + forward * evaluated)


@functools.cache
def _cost(variant: Variant, classes: int, side: int) -> tuple[str, int, int]:
    total = budget.parameters(variant, classes, side=side).total
    forward = budget.flops(variant, classes, side=side).forward
    return name_of(variant), total, forward
