"""Settings of the optimizer and of the learning rate that contradict each other."""

from __future__ import annotations

from engine.config.fields import Check, Problems, check
from engine.config.schema import Config
from engine.config.unused import needs, used_only_with

WITH_NESTEROV = ("sgd", "muon")


@check("optim.nesterov", "optim.name", "optim.momentum")
def nesterov_has_momentum(config: Config) -> Problems:
    """Nesterov's step looks ahead along a momentum."""
    if not config.optim.nesterov:
        return
    if config.optim.name not in WITH_NESTEROV:
        yield "optim.nesterov", f"only sgd and muon have it; optim.name is {config.optim.name}"
    elif config.optim.momentum == 0:
        yield "optim.nesterov", "needs a momentum; optim.momentum is 0"


@check("optim.clip_value", "optim.clip_norm")
def one_clip(config: Config) -> Problems:
    """Which of two clips comes first would change the result."""
    if config.optim.clip_value and config.optim.clip_norm:
        yield "optim.clip_norm", "expected only one of optim.clip_value and optim.clip_norm"


@check(
    "optim.decay_biases",
    "optim.weight_decay",
    "optim.norm_weight_decay",
    "optim.head_weight_decay",
    "optim.rest_weight_decay",
)
def biases_that_do_not_decay_have_no_decay(config: Config) -> Problems:
    """All of batch norm's and of the rest are scales and biases."""
    optim = config.optim
    if optim.decay_biases:
        return
    for name in ("norm_weight_decay", "rest_weight_decay"):
        if getattr(optim, name) is not None:
            yield f"optim.{name}", "these are biases (and scales); optim.decay_biases is false"
    if not optim.weight_decay and not optim.head_weight_decay:
        yield "optim.decay_biases", "nothing decays; optim.weight_decay is 0"


@check("optim.lookahead_end", "optim.ema_decay")
def one_result(config: Config) -> Problems:
    """The run ends with the moving average, whatever Lookahead ends with."""
    if config.optim.lookahead_end != "fast" and config.optim.ema_decay:
        yield "optim.lookahead_end", "the result is the moving average (optim.ema_decay)"


@check("schedule.warmup", "schedule.warmup_start")
def warmup_start_has_a_warmup(config: Config) -> Problems:
    """It is where the warm-up starts."""
    if config.schedule.warmup_start and not config.schedule.warmup:
        yield "schedule.warmup_start", "there is no warm-up; schedule.warmup is 0"


@check(
    "schedule.name", "schedule.warmup", "schedule.decay", "schedule.t_max", "schedule.per",
    "train.epochs",
)  # fmt: skip
def parts_fit_the_run(config: Config) -> Problems:
    """A warm-up, and a trapezoid's fall, are parts of the schedule's length."""
    schedule = config.schedule
    length, where = schedule.t_max or config.train.epochs, "train.epochs"
    if schedule.t_max:
        where = "schedule.t_max"
    if schedule.warmup and schedule.warmup >= length:
        yield "schedule.warmup", f"expected fewer epochs than {where}, which is {length:g}"
    elif schedule.name == "trapezoid":
        fall = schedule.decay or length / 5
        if schedule.warmup + fall > length:
            key = "schedule.decay" if schedule.decay else "schedule.warmup"
            yield (
                key,
                f"warm-up ({schedule.warmup:g} epochs) and fall ({fall:g}) are longer than "
                f"{where}, which is {length:g}",
            )


OPTIM: tuple[Check[Config], ...] = (
    nesterov_has_momentum,
    one_clip,
    biases_that_do_not_decay_have_no_decay,
    *(
        used_only_with(f"optim.{name}", "optim.name", ("muon",))
        for name in ("rest_momentum", "muon_steps", "muon_normalise")
    ),
    *(
        needs(f"optim.lookahead_{name}", "optim.lookahead_k", "Lookahead")
        for name in ("alpha", "start", "power", "buffers", "end")
    ),
    *(
        needs(f"optim.ema_{name}", "optim.ema_decay", "moving average")
        for name in ("every", "start")
    ),
    one_result,
    warmup_start_has_a_warmup,
    parts_fit_the_run,
)
