"""What no single setting shows: settings of a training run that contradict each other.

Each check names the settings that it reads: `options.read` skips it where one of them is itself
wrong, since a default would then stand for what was meant.
"""

from __future__ import annotations

import re

from engine.config.augment_checks import AUGMENT, STAGES
from engine.config.fields import Check, Problems, check
from engine.config.optim_checks import OPTIM
from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.config.unused import used_only_with

_SETTINGS = settings_of(Config)
_DEVICE = re.compile(r"auto|cpu|cuda|cuda:(?:0|[1-9][0-9]{0,2})")
GAINED = ("xavier_uniform", "xavier_normal", "orthogonal")  # the values of `model.init` with a gain
LONGEST_NAME = 200  # bytes; file systems take 255, and files beside the folder add endings
USED_BY = {  # the schedules that have a setting; with others it would silently do nothing
    "t_max": ("cosine", "onecycle", "linear"),
    "minimum": ("cosine", "restarts", "cyclic", "linear", "trapezoid"),
    "warmup": ("cosine", "linear", "trapezoid", "constant"),
    "decay": ("trapezoid",),
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


@check("data.train", "data.test", "run.root")
def paths_are_given(config: Config) -> Problems:
    """An empty path would mean the current folder."""
    for key in paths_are_given.reads:
        if not _SETTINGS[key].of(config).strip():
            yield key, "expected a path, not an empty text"


@check("data.validation")
def validation_counts_images(config: Config) -> Problems:
    """A fraction lies below 1; from there on it is a number of images."""
    value = config.data.validation
    if value >= 1 and value != int(value):
        yield "data.validation", "expected a fraction below 1 or a whole number of images"


@check("schedule.name", "schedule.minimum", "optim.lr")
def minimum_is_below_lr(config: Config) -> Problems:
    """The highest learning rate of these schedules is `optim.lr`."""
    schedule = config.schedule
    if schedule.name in USED_BY["minimum"] and schedule.minimum > config.optim.lr:
        yield "schedule.minimum", f"expected at most optim.lr, which is {config.optim.lr}"


@check("schedule.name", "schedule.cycle", "schedule.gamma")
def cyclic_gamma_has_exp_range(config: Config) -> Problems:
    """The other two cycles keep or halve their peaks."""
    schedule, default = config.schedule, _SETTINGS["schedule.gamma"].default
    if schedule.name == "cyclic" and schedule.cycle != "exp_range" and schedule.gamma != default:
        yield "schedule.gamma", f"only with exp_range; schedule.cycle is {schedule.cycle}"


@check("schedule.name", "schedule.milestones")
def milestones_are_in_order(config: Config) -> Problems:
    """Each milestone is an epoch of its own."""
    milestones = config.schedule.milestones
    if config.schedule.name != "multistep":
        return
    if not milestones:
        yield "schedule.milestones", "multistep decays after these epochs; give at least one"
    if list(milestones) != sorted(set(milestones)):
        yield "schedule.milestones", f"expected rising epochs, found {list(milestones)}"


@check("schedule.name", "schedule.t_max", "schedule.per", "train.epochs")
def onecycle_lasts(config: Config) -> Problems:
    """Past its end torch's scheduler stops the run with an error; here it is refused at once."""
    schedule, epochs = config.schedule, config.train.epochs
    if schedule.name != "onecycle" or not schedule.t_max:
        return
    # Stepped once per epoch, torch's allows one step past the end: a cycle of 100 ran 101 epochs.
    spare = 1 if schedule.per == "epoch" else 0
    if epochs > schedule.t_max + spare:
        yield (
            "schedule.t_max",
            f"a OneCycle of {schedule.t_max:g} epochs ends before train.epochs, which is {epochs}: "
            f"torch's own stops with an error there; expected at least {epochs}, or 0",
        )


@check("schedule.name", "schedule.base_momentum", "schedule.max_momentum")
def momentum_range_is_ordered(config: Config) -> Problems:
    """OneCycle and cyclic move momentum between the two."""
    low, high = config.schedule.momenta
    if low > high:
        yield "schedule.base_momentum", f"expected at most schedule.max_momentum, which is {high}"


@check("checkpoint.best", "data.validation")
def best_is_chosen_on_validation_images(config: Config) -> Problems:
    """Weights chosen on the test set are no fair result."""
    if config.checkpoint.best and not config.data.validation:
        yield (
            "checkpoint.best",
            "needs held-out images, but data.validation is 0; hold some out, or give "
            "--checkpoint.best false. Weights that are chosen on the test set have an accuracy "
            "there that no other images would give",
        )


@check("model.weights", "model.weights_classifier")
def new_classifier_needs_weights(config: Config) -> Problems:
    """Without weights to start from, every classifier is new."""
    if config.model.weights_classifier != "loaded" and not config.model.weights:
        yield "model.weights_classifier", "nothing is loaded; model.weights is empty"


@check("model.weights", "model.weights_classifier", "model.init", "model.classifier_std")
def loaded_weights_are_not_drawn(config: Config) -> Problems:
    """The initialisation would silently do nothing."""
    model = config.model
    if not model.weights or model.weights_classifier != "loaded":
        return
    for key, default in (("init", "default"), ("classifier_std", None)):
        if getattr(model, key) != default:
            yield f"model.{key}", "no weight is drawn; all are loaded from model.weights"


@check("runtime.device")
def device_is_known(config: Config) -> Problems:
    """Whether this machine has the device is found out when it is opened."""
    if not _DEVICE.fullmatch(config.runtime.device):
        yield "runtime.device", "expected auto, cpu, cuda or cuda:N"


@check("run.name")
def run_name_is_a_folder(config: Config) -> Problems:
    """A run lies directly in `run.root`, wherever its name came from."""
    name = config.run.name
    if "/" in name or "\\" in name or name in (".", "..") or name != name.strip():
        yield "run.name", "expected a folder's name without / or \\; the folder above is run.root"
    elif len(name.encode()) > LONGEST_NAME:
        yield "run.name", f"expected at most {LONGEST_NAME} bytes"


TRAINING: tuple[Check[Config], ...] = (
    paths_are_given,
    validation_counts_images,
    minimum_is_below_lr,
    *(used_only_with(f"schedule.{key}", "schedule.name", names) for key, names in USED_BY.items()),
    cyclic_gamma_has_exp_range,
    milestones_are_in_order,
    onecycle_lasts,
    momentum_range_is_ordered,
    *OPTIM,
    used_only_with("model.init_std", "model.init", ("normal",)),
    used_only_with("model.init_gain", "model.init", GAINED),
    best_is_chosen_on_validation_images,
    new_classifier_needs_weights,
    loaded_weights_are_not_drawn,
    *AUGMENT,
    *STAGES,
    device_is_known,
    run_name_is_a_folder,
)
