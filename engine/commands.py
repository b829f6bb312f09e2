"""The installed commands; each handles signals before its imports, which take seconds."""

from __future__ import annotations

from engine import signals
from engine.errors import run_command


def train() -> int:
    """`ffcv-engine-train`, which is `python -m engine.train`."""
    signals.listen_early()
    from engine.train import main

    return run_command(main)


def sweep() -> int:
    """`ffcv-engine-sweep`, which is `python -m engine.sweep`."""
    signals.listen_early()
    from engine.sweep.__main__ import main

    return run_command(main)


def launch() -> int:
    """`ffcv-engine-launch`, which is `python -m engine.launch`."""
    signals.quit_early()
    from engine.launch import main

    return run_command(main)


def evaluate() -> int:
    """`ffcv-engine-evaluate`, which is `python -m engine.evaluate`."""
    signals.quit_early()
    from engine.evaluate import main

    return run_command(main)


def explore() -> int:
    """`ffcv-engine-explore`, which is `python -m engine.explore`."""
    signals.quit_early()
    from engine.explore.__main__ import main

    return run_command(main)
