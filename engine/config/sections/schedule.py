"""The settings of the learning rate's schedule."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.fields import BETWEEN_0_AND_1, POSITIVE, option


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the step.

    Lengths are in epochs however often the schedule is stepped; factors apply per scheduler step,
    as in torch.
    """

    name: str = option(
        "cosine",
        "the schedule. restarts: cosine with warm restarts; exponential: lr * gamma^n after n "
        "scheduler steps; multiplicative: the n-th scheduler step multiplies by gamma^n",
        choices=(
            "cosine",
            "restarts",
            "onecycle",
            "cyclic",
            "step",
            "multistep",
            "exponential",
            "multiplicative",
            "linear",
            "trapezoid",
            "constant",
        ),
    )
    per: str = option(
        "auto",
        "how often the scheduler is stepped; auto: per step for onecycle, linear, trapezoid and "
        "with a warm-up, per epoch for the others",
        choices=("auto", "epoch", "step"),
    )
    t_max: float = option(
        0.0,
        "epochs to the minimum of cosine or linear, or of a whole OneCycle; 0: train.epochs",
        low=0.0,
    )
    minimum: float = option(
        0.0,
        "minimum learning rate of cosine, restarts (torch: eta_min), cyclic (base_lr), linear and "
        "trapezoid",
        low=0.0,
    )
    warmup: float = option(
        0.0,
        "epochs in which the learning rate rises linearly before cosine, linear, trapezoid and "
        "constant; these have the rest of schedule.t_max or of the run",
        low=0.0,
    )
    warmup_start: float = option(
        0.0, "the share of the learning rate at which the warm-up starts", low=0.0, high=1.0
    )
    decay: float = option(
        0.0, "epochs of trapezoid's linear fall at the end; 0: a fifth of the run", low=0.0
    )
    period: int = option(10, "epochs to the first restart (torch: T_0)", low=1)
    period_factor: int = option(
        1, "factor by which each restart period grows (torch: T_mult)", low=1
    )
    rise: float = option(5.0, "epochs of cyclic's rising half", **POSITIVE)
    fall: float = option(0.0, "epochs of cyclic's falling half; 0: as the rising", low=0.0)
    cycle: str = option(
        "triangular",
        "amplitude of cyclic. triangular: constant; triangular2: halved after each cycle; "
        "exp_range: times gamma per scheduler step",
        choices=("triangular", "triangular2", "exp_range"),
    )
    step_size: int = option(30, "epochs between decays of step", low=1)
    milestones: tuple[int, ...] = option((), "epochs after which multistep decays", low=1)
    gamma: float = option(
        0.1,
        "decay factor of step, multistep, exponential, multiplicative and cyclic exp_range",
        low=0.0,
        above=True,
        high=1.0,
    )
    anneal: str = option(
        "cosine", "annealing of onecycle (torch: anneal_strategy)", choices=("cosine", "linear")
    )
    pct_start: float = option(
        0.3, "fraction of onecycle that raises the learning rate", **BETWEEN_0_AND_1
    )
    div_factor: float = option(25.0, "onecycle starts at lr divided by this", low=1.0)
    final_div_factor: float = option(1e4, "onecycle ends at its start divided by this", low=1.0)
    cycle_momentum: bool = option(
        True, "onecycle and cyclic vary momentum (Adam: beta1) inversely to the learning rate"
    )
    base_momentum: float | None = option(
        None,
        "minimum momentum of onecycle (not given: 0.85) and cyclic (not given: 0.8)",
        **BETWEEN_0_AND_1,
    )
    max_momentum: float | None = option(
        None,
        "maximum momentum of onecycle (not given: 0.95) and cyclic (not given: 0.9)",
        **BETWEEN_0_AND_1,
    )

    @property
    def momenta(self) -> tuple[float, float]:
        """The minimum and maximum momentum of onecycle and cyclic."""
        low, high = (0.8, 0.9) if self.name == "cyclic" else (0.85, 0.95)
        return (
            low if self.base_momentum is None else self.base_momentum,
            high if self.max_momentum is None else self.max_momentum,
        )
