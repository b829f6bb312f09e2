"""Random values of any setting."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from engine.config.settings import LARGEST_INT, Setting


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
