"""A misspelt name is answered by what was meant, or by no guess at all."""

from __future__ import annotations

import pytest

from engine.config.schema import Config
from engine.config.settings import settings_of
from engine.config.wording import did_you_mean


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("optim.learning_rate", "optim.lr"),
        ("learning_rate", "optim.lr"),
        ("optim.wd", "optim.weight_decay"),
        ("train.bs", "train.batch_size"),
        ("data.workers", "runtime.threads"),
        ("optim.momentun", "optim.momentum"),
        ("loss", None),
        ("train.loss", None),
        ("accuracy", None),
    ],
)
def test_a_guess_is_what_was_meant_or_none(name: str, guess: str | None) -> None:
    expected = f"; did you mean {guess}?" if guess else ""
    assert did_you_mean(name, settings_of(Config)) == expected
