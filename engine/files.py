"""Opening files that anyone may have made: regular files alone, no waiting, never without a limit.

A pipe in place of a record would be waited for, an endless device read until memory ends.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from engine.errors import UserError, with_path

LARGEST_TEXT = 2**26  # bytes of a record, a sidecar, a plan
LARGEST_LOG = 2**30
LARGEST_TENSORS = 2**33
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def opened(path: Path) -> BinaryIO:
    """A regular file, opened to read; a missing one is `FileNotFoundError`.

    What can never be read is a `UserError`, what the disk refuses another `OSError`.
    """
    try:
        descriptor = os.open(path, FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise with_path(error, path) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    what = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
    raise UserError(f"{path}: not a regular file, but {what}")


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """All of a file of `most` bytes at most; a larger one is a `UserError`."""
    with opened(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            content = file.read(most + 1) if size <= most else b""
        except OSError as error:
            raise with_path(error, path) from None
    if size > most or len(content) > most:
        raise UserError(f"{path}: larger than {most:,} bytes, so it is not read")
    return content


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """`read_bytes` as text; `ValueError` where it is not UTF-8."""
    return read_bytes(path, most).decode()


def listed(folder: Path) -> list[Path]:
    """The paths in a folder by their names; none where it does not exist.

    `Path.glob` also finds none where reading is refused: then what was not found could be deleted.
    """
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise with_path(error, folder) from None
