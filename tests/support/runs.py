"""Short training runs and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.runs.directory import RunFolder

NET = "--model.blocks 1,1 --model.widths 4 --runtime.device cpu --runtime.threads 1".split()
SHORT = [*NET, "--runtime.precision", "fp32", "--train.epochs", "2", "--train.batch_size", "16"]

Command = Callable[..., int]


def run_of(tmp_path: Path) -> RunFolder:
    """The folder of the one run below `tmp_path`."""
    (path,) = (tmp_path / "runs").glob("[!.]*")  # and not the folder of compiled code
    return RunFolder(path)


def record_of(tmp_path: Path) -> dict[str, Any]:
    """The record of the one run below `tmp_path`."""
    record = run_of(tmp_path).read_record()
    assert record is not None
    return record
