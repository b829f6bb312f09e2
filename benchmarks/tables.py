"""All runs of a folder as one table: `benchmarks.tables.load("runs/")`.

`load` has one row per run, finished or not; `epochs` has one row per epoch of each run. Shares are
from 0 to 1, as in the records. Nothing is dropped: a run whose record is broken, half-written or of
another format has a row as well, and `problem` says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.records.epochs import EPOCH_NUMBERS
from benchmarks.records.runs import (  # fmt: skip
    COUNTS,
    DERIVED,
    NUMBERS,
    SHARES,
    TEXTS,
    WORDS,
    RunRecord,
    read,
)

__all__ = ["epochs", "epochs_of", "frame", "load"]


def load(root: str | Path = "runs") -> pd.DataFrame:
    """One row per run below `root`, its settings as columns of their dotted names."""
    return frame(read(root))


def epochs(root: str | Path = "runs") -> pd.DataFrame:
    """One row per epoch of each run below `root`."""
    return epochs_of(read(root))


def frame(runs: Iterable[RunRecord]) -> pd.DataFrame:
    """The table of these runs."""
    runs = list(runs)
    columns: dict[str, Any] = {
        "folder": pd.Series([run.folder for run in runs], dtype=object),
        "status": pd.Series([run.status for run in runs], dtype=object),
        "problem": pd.Series(["; ".join(run.problems) for run in runs], dtype=object),
    }
    for key in (*WORDS, *COUNTS, *SHARES, *NUMBERS, *DERIVED):
        dtype = "Int64" if key in COUNTS else object if key in TEXTS else "float64"
        columns[key] = pd.Series([run[key] for run in runs], dtype=dtype)
    for key in dict.fromkeys(key for run in runs for key in run.config):
        columns.setdefault(key, pd.Series([run.config.get(key) for run in runs], dtype=object))
    table: pd.DataFrame = pd.DataFrame(columns)
    return table


def epochs_of(runs: Iterable[RunRecord]) -> pd.DataFrame:
    """The table of these runs' epochs."""
    runs = list(runs)
    columns: dict[str, Any] = {
        "folder": pd.Series([run.folder for run in runs for _ in run.epochs.numbers], dtype=object),
        "epoch": np.concatenate([np.empty(0, "int64"), *(run.epochs.numbers for run in runs)]),
    }
    for key in EPOCH_NUMBERS:
        parts = [run.epochs.column(key) for run in runs]
        columns[key] = np.concatenate([np.empty(0), *parts])
    table: pd.DataFrame = pd.DataFrame(columns)
    return table
