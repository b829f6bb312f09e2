"""A process that dies at a chosen durable operation: fsync, rename or unlink.

From that operation on all of them raise, as they would never happen in a dead process; then the
same command is run again and must end with the same bytes as if nothing had happened.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from tests.support.data import Files
from tests.support.runs import exact_flags, outcome

OPERATIONS = ("fsync", "replace", "rename", "unlink")


class Died(BaseException):
    """The process is gone."""


@contextmanager
def dying(at: int, error: Callable[[], BaseException], *, once: bool = False) -> Iterator[None]:
    """Let durable operation `at` raise, and all that follow it unless it is to happen `once`."""
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


def die_and_continue(
    files: Files, tmp_path: Path, operations: Iterable[int], more: Sequence[str] = ()
) -> None:
    """Die at each of `operations` up to the last of a run; continued, each ends as `whole` did."""
    whole = outcome(tmp_path / "whole")
    for at in operations:
        root = tmp_path / f"died-{at}"
        flags = [*exact_flags(files, root, epochs=2, batch=64), *more]
        try:
            with dying(at, Died):
                code = run_command(train.main, flags)
        except Died:
            code = None
        if code == 0:
            break
        assert run_command(train.main, flags) == 0, f"operation {at}"
        assert outcome(root) == whole, f"operation {at}"
    assert at > 25, "a run has more durable operations than that"
