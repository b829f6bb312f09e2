"""Dead at any durable operation, or with a failing disk, the same command ends with the same bytes.

The default run tries every third operation; the slow tests try the others.
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import pytest

from engine import train
from engine.errors import run_command
from tests.support.data import Files
from tests.support.dying import die_and_continue, dying
from tests.support.runs import exact_flags, outcome

SLOW = pytest.mark.slow


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=SLOW), pytest.param(2, marks=SLOW)])
def test_a_run_that_dies_at_any_durable_operation_continues_to_the_same_bytes(
    files: Files, tmp_path: Path, part: int
) -> None:
    assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 64)) == 0
    die_and_continue(files, tmp_path, itertools.count(part, 3))


@pytest.mark.parametrize(
    ("number", "every"),
    [(errno.ENOSPC, 5), *(pytest.param(n, 2, marks=SLOW) for n in (errno.ENOSPC, errno.EIO))],
)
def test_a_single_disk_error_is_reported_and_loses_nothing(
    files: Files, tmp_path: Path, number: int, every: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 64)) == 0
    whole = outcome(tmp_path / "whole")
    for at in itertools.count(0, every):
        root = tmp_path / f"failed-{at}"
        flags = exact_flags(files, root, 2, 64)
        capsys.readouterr()
        with dying(at, lambda: OSError(number, os.strerror(number)), once=True):
            code = run_command(train.main, flags)
        if code == 0 and at > 40:
            break
        assert code in (0, 2), f"operation {at}"  # a file that cannot be unlinked may not matter
        if code == 2:
            err = capsys.readouterr().err
            assert "error: " in err and "Traceback" not in err
        assert run_command(train.main, flags) == 0, f"operation {at}"
        assert outcome(root) == whole, f"operation {at}"
