"""A planned run and the plan, known to the last setting before anything begins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.config.fingerprint import fingerprint
from engine.config.schema import Config, as_dict
from engine.sweep.data import DataFiles
from engine.sweep.reported import ReportedValue

FORMAT = 2  # of plan.json; in format 1 each run had its whole configuration
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
    epochs_unscaled: float
    image_side: int = 32
    weights_from: str = ""  # name of the run whose weights it starts from
    weights: str = ""  # digest of those it starts from, or what stands for it while it waits
    waiting: bool = False  # for the result of the run `weights_from`

    def content(self) -> dict[str, Any]:
        """As plan.json has it."""
        kept = (
            "name", "report", "experiment", "title", "recipe", "why", "variant", "params",
            "petaflops", "seed", "differs", "fingerprint", "folder",
        )  # fmt: skip
        return (
            {name: getattr(self, name) for name in kept}
            | {
                "config": as_dict(self.config),
                "reported": [value.content() for value in self.reported],
                "notes": list(self.notes),
            }
            | ({"weights_from": self.weights_from} if self.weights_from else {})
        )


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
        """For a program, with the whole configuration of each run."""
        return self.head() | {"runs": [run.content() for run in self.runs]}

    def head(self) -> dict[str, Any]:
        """All but the runs."""
        return {
            "format": FORMAT,
            "sweep": self.sweep,
            "title": self.title,
            "conditions": {"epochs_scale": self.epochs_scale, "data_limit": self.data_limit},
        }

    def lines(self) -> Iterator[str]:
        """plan.json: one line per run, its `config` without what is as in the `config` above.

        A plan may have 100,000 runs, and a configuration 130 settings.
        """
        common = as_dict(self.runs[0].config) if self.runs else {}
        yield _json(self.head() | {"config": common})[:-1] + ', "runs": [\n'
        for number, run in enumerate(self.runs):
            content = run.content()
            content["config"] = _differing(content["config"], common)
            yield f"{_json(content)}{',' * (number + 1 < len(self.runs))}\n"
        yield "]}\n"


def _differing(config: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in section.items() if value != common[name][key]}
        for name, section in config.items()
        if section != common[name]
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, allow_nan=False)


def different(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Each run once: experiments may share one. Without data, its path stands for its digest."""
    once: dict[str, PlannedRun] = {}
    for run in runs:
        paths = {"train": run.config.data.train, "test": run.config.data.test}
        once.setdefault(run.fingerprint or _identity(run, paths), run)
    return list(once.values())


def identified(run: PlannedRun, data: DataFiles) -> PlannedRun:
    """The run with the fingerprint and the folder that its settings, data and weights give it."""
    train, test = data.of(run.config)
    identity = ""
    if train.sha256 and test.sha256:
        identity = _identity(run, {"train": train.sha256, "test": test.sha256})
    folder = f"{run.variant[:LONGEST_LABEL]}-s{run.seed}-{identity[:8] or 'unknown'}"
    config = replace(run.config, run=replace(run.config.run, name=folder))
    return replace(run, config=config, fingerprint=identity, folder=folder)


def _identity(run: PlannedRun, digests: dict[str, str]) -> str:
    weights = {"weights": run.weights} if run.weights else {}
    return fingerprint(run.config, digests | weights)
