"""Durable writes: a file is old or new, never half.

Every write that must survive goes through here: a partial file beside the target, flush,
fsync, rename, fsync of the folder. The partial file is locked while it is written, so that a
second writer is refused and the leftover of a killed one is overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.errors import UserError, with_path


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to; `target` is replaced, durably, only if the block succeeds.

    Where `target` is a symbolic link, the file behind it is replaced and the link stays.
    """
    target = _regular(target)
    partial = target.with_name(target.name + ".partial")
    try:
        descriptor = _open_locked(partial)
    except OSError as error:
        raise with_path(error, target) from None
    try:
        yield partial
        with open(partial, "rb") as written:  # the block may have put another file in place
            os.fsync(written.fileno())
        os.replace(partial, target)
        sync_folder(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise with_path(error, target) from None
        raise
    finally:
        os.close(descriptor)


def write_bytes(target: Path, content: bytes) -> None:
    """Replace `target` by `content`, durably."""
    with replacing(target) as partial:
        partial.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Replace `target` by `content` in UTF-8, durably."""
    write_bytes(target, content.encode())


def write_lines(target: Path, lines: Iterable[str]) -> None:
    """Replace `target` by these parts of its text, durably; they are never all in memory."""
    with replacing(target) as partial, open(partial, "w", encoding="utf-8") as file:
        file.writelines(lines)


def write_json(target: Path, content: Any) -> None:
    """Replace `target` by `content` as readable JSON, durably; nan and infinity are refused."""
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")


def append_line(target: Path, line: str) -> None:
    """Add one line to a log and wait until it is on disk."""
    try:
        with open(target, "ab") as log:
            log.write(line.encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        raise with_path(error, target) from None


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file; the check locks it for an instant."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _regular(target: Path) -> Path:
    """The path to replace, links resolved; devices, pipes and folders are refused."""
    try:
        target = Path(os.path.realpath(target))
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise with_path(error, target) from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise UserError(f"{target}: {what}, where a file is to be written")
    return target


def _open_locked(partial: Path) -> int:
    if partial.is_symlink():
        raise UserError(f"{partial}: a link; remove it")
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{partial}: not a regular file; remove it")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(partial).st_ino == os.fstat(descriptor).st_ino:
                    os.ftruncate(descriptor, 0)
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(f"{partial}: another process is writing this file") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner renamed it away between our open and our lock
