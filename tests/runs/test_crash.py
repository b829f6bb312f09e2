"""A process that dies at any durable operation, the disk as it then stands, the same command again.

Every operation that moves the disk from one state to the next is counted: fsync, rename, unlink.
From the k-th on, all of them raise, as they would never happen in a dead process; then the run is
started again and must end with the same bytes as if nothing had happened.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from tests.runs.test_resume import _flags, _outcome
from tests.support.data import Files

OPERATIONS = ("fsync", "replace", "rename", "unlink")


class Died(BaseException):
    """The process is gone."""


@contextmanager
def _dying(at: int, error: Callable[[], BaseException], *, once: bool = False) -> Iterator[None]:
    """Let durable operation `at` raise, and all that follow unless it is to happen `once`."""
    count = itertools.count()

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            now = next(count)
            if now == at or (now > at and not once):
                raise error()
            return real(*args, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, guarded(getattr(os, name)))
        yield


def die_and_go_on(files: Files, tmp_path: Path, operations: Iterable[int]) -> None:
    """Die at each of `operations`, to the last that there is; going on ends as `whole` did."""
    whole = _outcome(tmp_path / "whole")
    for at in operations:
        root = tmp_path / f"died-{at}"
        flags = _flags(files, root, 2, 64)
        try:
            with _dying(at, Died):
                code = run_command(train.main, flags)
        except Died:
            code = None
        if code == 0:
            break
        assert run_command(train.main, flags) == 0, f"operation {at}"
        assert _outcome(root) == whole, f"operation {at}"
    assert at > 25, "so few operations cannot be all of them"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(3))
def test_dead_at_any_durable_operation_the_same_command_ends_with_the_same_bytes(
    files: Files, tmp_path: Path, part: int
) -> None:
    assert run_command(train.main, _flags(files, tmp_path / "whole", 2, 64)) == 0
    die_and_go_on(files, tmp_path, itertools.count(part, 3))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_any_single_failure_of_the_disk_is_told_and_costs_nothing(
    files: Files, tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(train.main, _flags(files, tmp_path / "whole", 2, 64)) == 0
    whole = _outcome(tmp_path / "whole")
    for at in itertools.count(0, 2):
        root = tmp_path / f"failed-{at}"
        flags = _flags(files, root, 2, 64)
        capsys.readouterr()
        with _dying(at, lambda: OSError(number, os.strerror(number)), once=True):
            code = run_command(train.main, flags)
        if code == 0 and at > 40:
            break
        assert code in (0, 2), f"operation {at}"  # an unlink that fails may be shrugged off
        if code == 2:
            err = capsys.readouterr().err
            assert "error: " in err and "Traceback" not in err
        assert run_command(train.main, flags) == 0, f"operation {at}"
        assert _outcome(root) == whole, f"operation {at}"
