"""What no single setting shows: settings of a training run that contradict each other.

Each check yields (dotted name, what is wrong). They are small on purpose: `options.read` leaves
out a check that reads a value which is itself wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from engine.config.schema import Config, Model, Optim, Schedule
from engine.config.wording import either

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


def rates_fall(config: Config) -> Problems:
    """The lowest rate of a wave lies below its highest, which is `optim.lr`."""
    schedule = config.schedule
    if schedule.name in USED_BY["minimum"] and schedule.minimum > config.optim.lr:
        yield "schedule.minimum", f"expected at most optim.lr, which is {config.optim.lr}"


USED_BY = {  # which schedules have a setting; elsewhere it would silently do nothing
    "t_max": ("cosine", "onecycle"),
    "minimum": ("cosine", "restarts", "cyclic"),
    "period": ("restarts",),
    "period_factor": ("restarts",),
    "rise": ("cyclic",),
    "fall": ("cyclic",),
    "cycle": ("cyclic",),
    "step_size": ("step",),
    "milestones": ("multistep",),
    "gamma": ("step", "multistep", "exponential", "multiplicative", "cyclic"),
    "anneal": ("onecycle",),
    "pct_start": ("onecycle",),
    "div_factor": ("onecycle",),
    "final_div_factor": ("onecycle",),
    "base_momentum": ("onecycle", "cyclic"),
    "max_momentum": ("onecycle", "cyclic"),
}


def schedule_settings_fit(config: Config) -> Problems:
    """A setting that the schedule does not have is most likely meant for another."""
    given, plain = config.schedule, Schedule()
    for key, names in USED_BY.items():
        if given.name not in names and getattr(given, key) != getattr(plain, key):
            yield f"schedule.{key}", f"only with {either(names)}; schedule.name is {given.name}"
    if given.name == "cyclic" and given.cycle != "exp_range" and given.gamma != plain.gamma:
        yield "schedule.gamma", f"only with exp_range; schedule.cycle is {given.cycle}"


def milestones_are_in_order(config: Config) -> Problems:
    """Each is an epoch of its own."""
    schedule = config.schedule
    if schedule.name != "multistep":
        return
    if not schedule.milestones:
        yield "schedule.milestones", "multistep falls at these epochs; give at least one"
    if list(schedule.milestones) != sorted(set(schedule.milestones)):
        yield "schedule.milestones", f"expected rising epochs, found {list(schedule.milestones)}"


def onecycle_lasts(config: Config) -> Problems:
    """Past its end torch's scheduler stops the run with an error; here it is refused before."""
    schedule, epochs = config.schedule, config.train.epochs
    if schedule.name != "onecycle" or not schedule.t_max:
        return
    # Moved once an epoch, torch's allows one move past the end: a cycle of 100 ran for 101 epochs.
    spare = 1 if schedule.per == "epoch" else 0
    if epochs > schedule.t_max + spare:
        yield (
            "schedule.t_max",
            f"a OneCycle of {schedule.t_max:g} epochs ends before train.epochs, which is {epochs}: "
            f"torch's own stops with an error there; expected at least {epochs}, or 0",
        )


def momentum_range_is_ordered(config: Config) -> Problems:
    """OneCycle and cyclic move momentum between the two."""
    low, high = config.schedule.momenta
    if low > high:
        yield "schedule.base_momentum", f"expected at most schedule.max_momentum, which is {high}"


def lookahead_settings_fit(config: Config) -> Problems:
    """Without Lookahead its settings would silently do nothing."""
    given, plain = config.optim, Optim()
    if given.lookahead_k:
        return
    for key in ("lookahead_alpha", "lookahead_start"):
        if getattr(given, key) != getattr(plain, key):
            yield f"optim.{key}", "there is no Lookahead; optim.lookahead_k is 0"


def init_settings_fit(config: Config) -> Problems:
    """Only some ways of drawing weights have a deviation or a gain to set."""
    given, plain = config.model, Model()
    if given.init != "normal" and given.init_std != plain.init_std:
        yield "model.init_std", f"only with normal; model.init is {given.init}"
    if given.init_gain is not None and given.init not in GAINED:
        yield "model.init_gain", f"only with {either(GAINED)}; model.init is {given.init}"


GAINED = ("xavier_uniform", "xavier_normal", "orthogonal")


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
    rates_fall,
    schedule_settings_fit,
    milestones_are_in_order,
    onecycle_lasts,
    momentum_range_is_ordered,
    lookahead_settings_fit,
    init_settings_fit,
    device_is_known,
    run_name_is_a_folder,
)
