"""A disk that refuses one operation below a folder: to make, open, write out, rename or delete.

What happens on other paths goes on, as on other disks.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES)
OPERATIONS = (
    "fsync",
    "replace",
    "rename",
    "unlink",
    "mkdir",
    "open",
    "ftruncate",
    "scandir",
    "listdir",
)


@contextmanager
def failing(folder: Path, at: int, number: int) -> Iterator[list[str]]:
    """Operation `at` below `folder` raises error `number`, once; yields what was counted."""
    counted: list[str] = []

    def guarded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **named: Any) -> Any:
            if _is_below(folder, path):
                counted.append(f"{name} {path}")
                if len(counted) == at + 1:
                    where = () if isinstance(path, int) else (os.fspath(path),)
                    raise OSError(number, os.strerror(number), *where)
            return real(path, *args, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, guarded(name, getattr(os, name)))
        opening = guarded("open", io.open)
        patch.setattr(io, "open", opening)
        patch.setattr(builtins, "open", opening)
        yield counted


def every_operation(
    folder: Path, command: Callable[[], int], step: int = 1
) -> Iterator[tuple[int, str]]:
    """Calls `command` on a disk that refuses its first operation, its second and so on to its last.

    Yields the exit code and the operation; the kinds of errors take turns.
    """
    for at in itertools.count(step=step):
        with failing(folder, at, ERRORS[at % len(ERRORS)]) as counted:
            code = command()
        if len(counted) <= at:
            return
        yield code, f"{at}: {counted[at]}"


def _is_below(folder: Path, path: Any) -> bool:
    if isinstance(path, int):
        try:
            path = os.readlink(f"/proc/self/fd/{path}")
        except OSError:
            return False
    return str(folder) in os.fsdecode(path)
