"""What no single setting shows: settings of a training run that contradict each other.

Each check yields (dotted name, what is wrong). They are small on purpose: `options.read` leaves
out a check that reads a value which is itself wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from engine.config.schema import Config

Problems = Iterable[tuple[str, str]]

_DEVICE = re.compile(r"auto|cpu|cuda|cuda:(?:0|[1-9][0-9]{0,2})")
LONGEST_NAME = 200  # bytes; file systems take 255, and files beside the folder add endings


def paths_are_given(config: Config) -> Problems:
    """An empty path would mean the current folder."""
    given = {
        "data.train": config.data.train,
        "data.test": config.data.test,
        "run.root": config.run.root,
    }
    for key, path in given.items():
        if not path.strip():
            yield key, "expected a path, not an empty text"


def validation_counts_images(config: Config) -> Problems:
    """A fraction lies below 1; from there on it is a number of images."""
    value = config.data.validation
    if value >= 1 and value != int(value):
        yield "data.validation", "expected a fraction below 1 or a whole number of images"


def nesterov_fits(config: Config) -> Problems:
    """Nesterov's step looks ahead along a momentum."""
    if not config.optim.nesterov:
        return
    if config.optim.name != "sgd":
        yield "optim.nesterov", f"only sgd has it; optim.name is {config.optim.name}"
    elif config.optim.momentum == 0:
        yield "optim.nesterov", "needs a momentum; optim.momentum is 0"


def one_clip(config: Config) -> Problems:
    """Which of two clips comes first would change the result."""
    if config.optim.clip_value and config.optim.clip_norm:
        yield "optim.clip_norm", "expected only one of optim.clip_value and optim.clip_norm"


def cosine_falls(config: Config) -> Problems:
    """The lowest rate of a cosine lies below its highest, which is `optim.lr`."""
    schedule = config.schedule
    if schedule.name == "cosine" and schedule.minimum > config.optim.lr:
        yield "schedule.minimum", f"expected at most optim.lr, which is {config.optim.lr}"


def cosine_settings_fit(config: Config) -> Problems:
    """Only a cosine has a length and a lowest rate; elsewhere they would silently do nothing."""
    schedule = config.schedule
    if schedule.name == "cosine":
        return
    if schedule.t_max:
        yield "schedule.t_max", f"only cosine has it; schedule.name is {schedule.name}"
    if schedule.minimum:
        yield "schedule.minimum", f"only cosine has it; schedule.name is {schedule.name}"


def momentum_range_is_ordered(config: Config) -> Problems:
    """OneCycle moves momentum between the two."""
    schedule = config.schedule
    if schedule.base_momentum > schedule.max_momentum:
        highest = f"expected at most schedule.max_momentum, which is {schedule.max_momentum}"
        yield "schedule.base_momentum", highest


def device_is_known(config: Config) -> Problems:
    """Whether the device is there shows only when it is opened."""
    if not _DEVICE.fullmatch(config.runtime.device):
        yield "runtime.device", "expected auto, cpu, cuda or cuda:N"


def run_name_is_a_folder(config: Config) -> Problems:
    """A run lies directly in `run.root`, wherever its name came from."""
    name = config.run.name
    if "/" in name or "\\" in name or name in (".", "..") or name != name.strip():
        yield "run.name", "expected a folder's name without / or \\; the folder above is run.root"
    elif len(name.encode()) > LONGEST_NAME:
        yield "run.name", f"expected at most {LONGEST_NAME} bytes"


TRAINING: tuple[Callable[[Config], Problems], ...] = (
    paths_are_given,
    validation_counts_images,
    nesterov_fits,
    one_clip,
    cosine_falls,
    cosine_settings_fit,
    momentum_range_is_ordered,
    device_is_known,
    run_name_is_a_folder,
)
