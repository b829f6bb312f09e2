"""Random values of any setting, and the problems of a command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from engine.config import checks, options
from engine.config.schema import Config
from engine.config.settings import LARGEST_INT, Setting
from engine.errors import UserError


def valid_values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that `setting` accepts."""
    limits = setting.limits
    one: st.SearchStrategy[Any]
    if limits.choices:
        one = st.sampled_from(limits.choices)
    elif setting.kind is bool:
        one = st.booleans()
    elif setting.kind is int:
        high = LARGEST_INT if limits.high is None else int(limits.high)
        one = st.integers(int(limits.low or 0), min(high, LARGEST_INT))
    elif setting.kind is float:
        one = st.floats(
            limits.low,
            limits.high,
            exclude_min=limits.above,
            exclude_max=limits.below,
            allow_nan=False,
            allow_infinity=False,
        )
    else:
        one = st.text(
            st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
            | st.sampled_from("\ufeff'\"\\#:{}[]&*!|>%@`,?- ~")
        )
    if setting.many:
        size = limits.length
        one = st.lists(one, min_size=size or 0, max_size=size or 4).map(tuple)
    if limits.words:
        one |= st.sampled_from(limits.words)
    return st.none() | one if setting.optional else one


def problems_of(argv: list[str]) -> tuple[str, ...]:
    """The problems of a training command line, which must have some."""
    with pytest.raises(UserError) as caught:
        options.read(
            Config,
            argv,
            program="test",
            summary="",
            flags=[options.Flag("dry-run", "check")],
            checks=checks.TRAINING,
        )
    assert all("\n" not in line and "\x1b" not in line for line in caught.value.problems)
    return caught.value.problems


def holds(problems: tuple[str, ...], part: str) -> bool:
    """Whether a problem contains `part`, in which `.*` stands for any text."""
    pattern = re.escape(part).replace(re.escape(".*"), ".*")
    return any(re.search(pattern, line) for line in problems)


def file_of(folder: Path, text: str) -> Path:
    """A config file with this text."""
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path
