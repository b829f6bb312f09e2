"""All compiled code of the feed, loaded at once, the moment before it is first needed.

Numba and its tables make some hundred thousand objects, which all stay. Python's collector looks
through them again and again while they are made: without it, loading takes half the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def load() -> None:
    """Have the kernels in memory: from disk in a quarter of a second, or compiled in seconds."""
    with _collector_paused():
        from engine.data.kernels import (  # noqa: F401
            augment,
            gather,
            simd,
            sort,
        )


@contextmanager
def _collector_paused() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
