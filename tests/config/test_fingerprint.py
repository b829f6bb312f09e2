"""A fingerprint changes with everything that can change the result, and with nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from engine.config.fingerprint import fingerprint
from engine.config.schema import Config
from engine.config.settings import settings_of

DIGESTS = {"train": "a" * 64, "test": "b" * 64}
WITHOUT_EFFECT = {
    key
    for key in settings_of(Config)
    if key.startswith(("run.", "checkpoint."))
    or key in ("runtime.threads", "runtime.cache", "model.budget")
    or key in ("runtime.count_together", "runtime.copy_at_once")
    or key in ("data.train", "data.test", "data.mode")
    or key in ("model.weights", "model.weights_classifier")  # what is loaded counts, by its digest
}


def changed(key: str, value: Any, digests: Mapping[str, str] = DIGESTS) -> str:
    """The fingerprint of a configuration with one value changed."""
    section, _, name = key.partition(".")
    other = dataclasses.replace(getattr(Config(), section), **{name: value})
    return fingerprint(dataclasses.replace(Config(), **{section: other}), digests)


@pytest.mark.parametrize("key", settings_of(Config))
def test_each_setting_counts_exactly_if_it_can_change_the_result(key: str) -> None:
    default = settings_of(Config)[key].default
    others = {bool: not default, int: 7, float: 0.123, str: "other", tuple: (1, 2, 3)}
    same = changed(key, others.get(type(default), 7)) == fingerprint(Config(), DIGESTS)
    assert same == (key in WITHOUT_EFFECT)


def test_the_data_counts_by_its_digests() -> None:
    ours = fingerprint(Config(), DIGESTS)
    assert fingerprint(Config(), {"train": "a" * 64, "test": "c" * 64}) != ours
    assert fingerprint(Config(), {"train": "b" * 64, "test": "a" * 64}) != ours


def test_weights_to_start_from_count_by_their_digest_and_their_classifier() -> None:
    loaded = DIGESTS | {"weights": "c" * 64}
    one = changed("model.weights", "runs/a", loaded)
    assert one == changed("model.weights", "elsewhere.safetensors", loaded)
    assert one != fingerprint(Config(), DIGESTS)
    assert one != changed("model.weights", "runs/a", DIGESTS | {"weights": "d" * 64})
    assert one != changed("model.weights_classifier", "new", loaded)


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("optim.lr", 1, 1.0),
        ("optim.clip_norm", -0.0, 0),
        ("model.dropout", -0.0, 0.0),
        ("augment.std", (1, 1, 1), (1.0, 1.0, 1.0)),
        ("augment.mean", (0, -0.0, 0.0), (0.0, 0.0, 0)),
    ],
)
def test_equal_numbers_count_as_equal(key: str, one: Any, other: Any) -> None:
    assert changed(key, one) == changed(key, other)


def test_what_is_not_given_differs_from_zero_and_false() -> None:
    for key in ("model.dropout", "model.preactivation"):
        assert changed(key, None) != changed(key, 0)


def test_it_is_the_same_on_every_machine_and_day() -> None:
    """Changing this value renames every existing run: increase FORMAT and say so."""
    fixed = "cb67ada51cf701146a710a99366a1a5035e3c21dd18b662c69b7fd833b146149"
    assert fingerprint(Config(), DIGESTS) == fixed
