from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data import Files
from tests.support.sweeps import Sweep


@pytest.fixture
def sweep(files: Files, tmp_path: Path) -> Sweep:
    """Four runs over the small data set; the command writes below `tmp_path`."""
    return Sweep(tmp_path, files)
