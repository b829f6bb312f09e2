"""Every setting of a training run: its default, its limits and one line that explains it.

A `Config` is complete and checked before anything is opened; it is passed as an argument and
never changed. `options.read` builds it from YAML files and flags.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from engine.config.fields import section
from engine.config.sections.data import Augment, Data
from engine.config.sections.model import Model
from engine.config.sections.optim import Optim
from engine.config.sections.run import Run, Runtime
from engine.config.sections.schedule import Schedule
from engine.config.sections.train import Checkpoint, Train

__all__ = [
    "Augment",
    "Checkpoint",
    "Config",
    "Data",
    "Model",
    "Optim",
    "Run",
    "Runtime",
    "Schedule",
    "Train",
]


@dataclass(frozen=True)
class Config:
    """One training run."""

    data: Data = section(Data)
    augment: Augment = section(Augment)
    model: Model = section(Model)
    train: Train = section(Train)
    optim: Optim = section(Optim)
    schedule: Schedule = section(Schedule)
    runtime: Runtime = section(Runtime)
    run: Run = section(Run)
    checkpoint: Checkpoint = section(Checkpoint)


def as_dict(config: Any) -> dict[str, Any]:
    """The settings as plain nested dictionaries, tuples as lists, ready for JSON or YAML."""
    return {
        field.name: {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(getattr(config, field.name)).items()
        }
        for field in dataclasses.fields(config)
    }


def from_dict(content: dict[str, Any]) -> Config:
    """The inverse of `as_dict`."""
    kinds: dict[str, Any] = {
        field.name: field.default_factory for field in dataclasses.fields(Config)
    }
    sections = {
        name: kind(**{key: _tupled(value) for key, value in content[name].items()})
        for name, kind in kinds.items()
    }
    return Config(**sections)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
