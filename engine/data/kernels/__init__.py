"""Compiled code for the CPU: every file that imports Numba lies in this folder.

Nothing here is imported before it is needed, because Numba takes long to load: other modules
import from this folder inside functions (`threads` alone needs no Numba).
"""

from __future__ import annotations

import gc


def load() -> None:
    """Load the loader's kernels: from disk in a quarter of a second, or compiled in seconds.

    Numba and its tables make some hundred thousand objects that all stay; with Python's garbage
    collector off, which would scan them again and again, loading takes half the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        from engine.data.kernels import augment, gather, simd, sort  # noqa: F401
    finally:
        if was_enabled:
            gc.enable()
