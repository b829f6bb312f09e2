"""Every run of a folder as one tidy table: `benchmarks.tables.load("runs/")`.

A row is a run, finished or not; `epochs` has a row for each of its epochs. Shares are from 0 to 1
as the records have them. Nothing is dropped: a run whose record is broken, half-written or of
another format is a row as well, and `problem` says what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records.runs import (  # fmt: skip
    COUNTS,
    DERIVED,
    NUMBERS,
    OF_AN_EPOCH,
    SHARES,
    TEXTS,
    WORDS,
    RunFile,
    read,
)

__all__ = ["epochs", "epochs_of", "frame", "load"]


def load(root: str | Path = "runs") -> pd.DataFrame:
    """A row for each run below `root`, its settings as columns of their dotted names."""
    return frame(read(root))


def epochs(root: str | Path = "runs") -> pd.DataFrame:
    """A row for each epoch of each run below `root`."""
    return epochs_of(read(root))


def frame(runs: Iterable[RunFile]) -> pd.DataFrame:
    """The tidy table of these runs."""
    runs = list(runs)
    known = [*WORDS, *COUNTS, *SHARES, *NUMBERS, *DERIVED]
    content: dict[str, Any] = {
        "folder": pd.Series([run.folder for run in runs], dtype=object),
        "status": pd.Series([run.status for run in runs], dtype=object),
        "problem": pd.Series(["; ".join(run.problems) for run in runs], dtype=object),
    }
    for key in known:
        kind = "Int64" if key in COUNTS else object if key in TEXTS else "float64"
        values = [run.values[key] for run in runs]
        content[key] = pd.Series(
            [math.nan if v is None else v for v in values] if kind == "float64" else values,
            dtype=kind,
        )
    for key in dict.fromkeys(key for run in runs for key in run.config):
        content.setdefault(key, pd.Series([run.config.get(key) for run in runs], dtype=object))
    table: pd.DataFrame = pd.DataFrame(content)
    return table


def epochs_of(runs: Iterable[RunFile]) -> pd.DataFrame:
    """The tidy table of these runs' epochs."""
    rows = [(run.folder, line) for run in runs for line in run.epochs]
    content: dict[str, Any] = {
        "folder": pd.Series([folder for folder, _ in rows], dtype=object),
        "epoch": pd.Series([line["epoch"] for _, line in rows], dtype="int64"),
    }
    for key in OF_AN_EPOCH:
        values = [math.nan if line[key] is None else line[key] for _, line in rows]
        content[key] = pd.Series(values, dtype="float64")
    table: pd.DataFrame = pd.DataFrame(content)
    return table
