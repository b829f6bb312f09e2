"""A file is old or new, never half: whatever fails, at whichever operation."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import atomic
from engine.errors import UserError


def _failing(real: Callable[..., Any], at: int, error: int) -> Callable[..., Any]:
    calls = iter(range(1_000_000))

    def call(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise OSError(error, os.strerror(error))
        return real(*args, **named)

    return call


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["open", "fsync", "replace", "ftruncate"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_failed_write_leaves_the_old_file_and_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, at: int, error: int
) -> None:
    target = tmp_path / "file"
    atomic.write_text(target, "old")
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, operation, _failing(getattr(os, operation), at, error))
        try:
            atomic.write_text(target, "new")
        except OSError:
            # only the folder's own fsync comes after the rename
            late = operation in ("fsync", "open") and at == 1
            assert target.read_text() == ("new" if late else "old")
        else:
            assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".partial")] == ["file"]
    atomic.write_text(target, "newer")
    assert target.read_text() == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_block_that_raises_leaves_the_old_file_and_no_partial(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic.write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic.replacing(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_second_writer_is_refused_while_the_first_is_writing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with atomic.replacing(target) as partial:
        partial.write_text("first")
        with pytest.raises(UserError, match="another process"):
            atomic.write_text(target, "second")
    assert target.read_text() == "first"


def test_the_partial_file_of_a_killed_writer_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.with_name("file.partial").write_text("x" * 1000)
    atomic.write_text(target, "whole")
    assert target.read_text() == "whole"


def test_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_lines_are_appended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    atomic.append_line(log, "one")
    atomic.append_line(log, "two")
    assert log.read_text() == "one\ntwo\n"


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    atomic.write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "later")
    atomic.write_text(dangling, "made")
    assert dangling.is_symlink() and (tmp_path / "later").read_text() == "made"


def test_a_pipe_or_a_folder_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    before = sorted(p.name for p in tmp_path.iterdir())
    for name in ("fifo", "link", "folder"):
        with pytest.raises(UserError, match="where a file is to be written"):
            atomic.write_text(tmp_path / name, "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("absent/file", "there is no such folder"),
        ("file/below", "is a file, not a folder"),
        ("n" * 300, "the name is too long"),
        ("loop", "a link that leads back to itself"),
        ("blocked", "a folder, where a file is expected"),
    ],
)
def test_an_impossible_path_is_a_user_error(tmp_path: Path, target: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "blocked.partial").mkdir()
    with pytest.raises(UserError, match=reason):
        atomic.write_text(tmp_path / target, "text")
