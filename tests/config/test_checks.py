"""A check names every setting that it reads, so that it is skipped where one of them is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import checks
from engine.config.fields import Check
from engine.config.schema import Config
from engine.config.settings import build, settings_of
from tests.support.settings import valid_values

SETTINGS = settings_of(Config)


@contextmanager
def keys_read() -> Iterator[set[str]]:
    """The settings that are read from any configuration meanwhile."""
    read: set[str] = set()

    def watched(self: Any, name: str) -> Any:
        read.add(f"{type(self).__name__.lower()}.{name}")
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        for field in dataclasses.fields(Config):
            patch.setattr(field.default_factory, "__getattribute__", watched, raising=False)
        yield read


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("check", checks.TRAINING)
def test_a_check_reads_only_settings_it_names(check: Check[Config], data: st.DataObject) -> None:
    keys = [key for key in SETTINGS if key in check.reads or f"{key.split('.')[0]}." in check.reads]
    assert keys
    values = {key: setting.default for key, setting in SETTINGS.items()}
    values |= {key: data.draw(valid_values(SETTINGS[key]), label=key) for key in keys}
    config = build(Config, values)
    with keys_read() as read:
        list(check.problems(config))
    assert read & SETTINGS.keys() <= set(keys)
