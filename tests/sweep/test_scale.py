"""A rehearsal is the same training in fewer epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.config import checks
from engine.config.schema import Config, Optim, Schedule, Train
from engine.config.settings import settings_of
from engine.sweep.scale import LENGTHS, WHOLE_LENGTHS, scaled


def _config(epochs: float, **schedule: Any) -> Config:
    return Config(train=Train(epochs=epochs), schedule=Schedule(**schedule))


def test_a_rehearsal_shortens_everything_that_is_counted_in_epochs() -> None:
    config = scaled(_config(30, name="cosine", t_max=200.0), 0.1)
    assert config.train.epochs == 3
    assert config.schedule.t_max == pytest.approx(20)
    config = scaled(_config(200, name="multistep", milestones=(6, 8, 9, 150)), 0.05)
    assert config.schedule.milestones == (1, 2, 3, 8), "each fall stays a fall"
    config = scaled(_config(200, name="restarts", period=10), 0.05)
    assert config.schedule.period == 1
    config = scaled(_config(200, name="cyclic", rise=5.0, fall=0.0), 0.1)
    assert (config.schedule.rise, config.schedule.fall) == (0.5, 0.0)
    assert scaled(_config(3), 0.001).train.epochs == 1
    whole = _config(101, name="onecycle", t_max=100.0, per="epoch")
    assert scaled(whole, 1.0) is whole
    part = replace(_config(8.5, name="linear", warmup=2.0), optim=Optim(stem_bias_epochs=3.0))
    assert scaled(part, 1.0) is part
    config = scaled(part, 0.24)
    assert (config.train.epochs, config.schedule.warmup) == (2, pytest.approx(2 * 2 / 8.5))
    assert config.optim.stem_bias_epochs == pytest.approx(3 * 2 / 8.5)
    assert scaled(whole, 0.05).schedule.t_max + 1 >= scaled(whole, 0.05).train.epochs


SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "cosine": {"t_max": 200.0},
    "restarts": {"period": 10},
    "onecycle": {"t_max": 100.0},
    "cyclic": {"rise": 5.0},
    "step": {"step_size": 2},
    "multistep": {"milestones": (6, 8, 9)},
    "exponential": {},
    "multiplicative": {},
    "linear": {"warmup": 2.0},
    "trapezoid": {"warmup": 2.0, "decay": 20.0},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rehearsal_is_a_valid_configuration(name: str) -> None:
    assert set(SCHEDULES) == set(settings_of(Config)["schedule.name"].limits.choices)
    config = _config(100, name=name, **SCHEDULES[name])
    for factor in (0.5, 0.05, 0.005):
        for check in checks.TRAINING:
            assert list(check.problems(scaled(config, factor))) == []


def test_no_setting_that_is_counted_in_epochs_is_forgotten() -> None:
    counted = {
        key for key, setting in settings_of(Config).items() if "epochs" in setting.limits.doc
    }
    scaled_ones = {f"schedule.{name}" for name in (*LENGTHS, *WHOLE_LENGTHS, "milestones")}
    scaled_ones.add("optim.stem_bias_epochs")
    known = {"train.evaluate_every", "schedule.period_factor"}
    known |= {"checkpoint.every_epochs", "checkpoint.seconds_apart"}
    assert counted - known == scaled_ones, "a new length has to be scaled, or named here"
