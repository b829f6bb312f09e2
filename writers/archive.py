"""The members of a tar archive, one after the other in memory: nothing is unpacked to disk.

A malicious archive is refused: members with absolute paths or `..`, links and devices, duplicate
members, one larger than the published file, and more bytes in all than the data set has (so that a
small file cannot expand without end).
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from engine.errors import UserError

SLACK_BYTES = 1 << 24  # for headers, padding, and the small files beside the batches
_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError)


def members(
    path: Path, most_bytes: Callable[[str], int | None], total_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """File name and content of each wanted member of a .tar or .tar.gz, in the archive's order.

    `most_bytes` gives the largest size that a wanted file may have, and None for any other member.
    """
    seen: set[str] = set()
    try:
        with open(path, "rb") as file, _plain(path, file, total_bytes) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                for member in tar:
                    name = _checked(path, member)
                    most = most_bytes(name) if member.isreg() else None
                    if most is None:
                        continue
                    if name in seen:
                        raise UserError(f"{path}: contains {name} twice")
                    seen.add(name)
                    if member.size > most:
                        raise UserError(
                            f"{path}: {member.name} claims {member.size:,} bytes; expected at most "
                            f"{most:,}, as published"
                        )
                    content = tar.extractfile(member)
                    yield name, content.read() if content else b""
            while plain.read(1 << 20):  # to the end, where the checksum of gzip is
                pass
    except _BROKEN as error:
        raise UserError(f"{path}: truncated, damaged or not a .tar.gz ({error})") from None


class _Bounded(io.RawIOBase):
    """A file that may be read for at most `left` bytes."""

    def __init__(self, path: Path, file: IO[bytes], left: int) -> None:
        self.path, self.file, self.left = path, file, left

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self.file.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise UserError(f"{self.path}: unpacks to more bytes than the data set has")
        return piece


def _plain(path: Path, file: IO[bytes], total_bytes: int) -> _Bounded:
    magic = file.read(2)
    file.seek(0)
    source: IO[bytes] = gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file  # type: ignore[assignment]
    return _Bounded(path, source, total_bytes + SLACK_BYTES)


def _checked(path: Path, member: tarfile.TarInfo) -> str:
    """The member's file name; a path outside the archive's folder or a special file is an error."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise UserError(f"{path}: {member.name!r} lies outside the folder of the archive")
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise UserError(f"{path}: {member.name!r} is neither a regular file nor a folder")
    return name.name
