"""The installed command `ffcv-engine-write`; it handles Ctrl-C before the imports it needs."""

from __future__ import annotations

from typing import NoReturn

from engine import signals
from engine.errors import leave, run_command


def write() -> NoReturn:
    """`ffcv-engine-write`, which is `python writers/cifar.py`."""
    signals.quit_early()
    from writers.cifar import main

    leave(run_command(main))
