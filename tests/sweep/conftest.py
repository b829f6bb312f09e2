from __future__ import annotations

from pathlib import Path

import pytest

from engine.step import rates
from engine.step.device import Machine
from engine.step.rates import Rates
from tests.support.data import Files
from tests.support.sweeps import Sweep


@pytest.fixture
def sweep(files: Files, tmp_path: Path) -> Sweep:
    """Four runs over the small data set; the command writes below `tmp_path`."""
    return Sweep(tmp_path, files)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps in this process do not measure the machine."""

    def measured(machine: Machine, threads: int, cache: Path | None) -> Rates:
        return Rates(machine.name(), machine.precision, 1e12, 1e10)

    monkeypatch.setattr(rates, "measured", measured)
