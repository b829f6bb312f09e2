"""What the tests of the benchmarks share: a run that was really trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data import Files
from tests.support.runs import SHORT


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Path:
    """A folder of runs with a single finished one, "real"; copy it before changing it."""
    from engine import train
    from engine.errors import run_command

    root = tmp_path_factory.mktemp("trained") / "runs"
    flags = ["--run.root", str(root), "--run.name", "real", "--data.validation", "0.1", "--quiet"]
    assert run_command(train.main, [*SHORT, *files.flags(), *flags]) == 0
    return root
