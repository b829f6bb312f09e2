"""Members of a tar archive, one after the other in memory: nothing is ever unpacked to disk.

What a stranger's archive could try is refused: members with absolute paths or `..`, links and
devices, a member twice, one larger than the published file, and more bytes than the whole data
set has (so that a small file cannot swell without end).
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

    `most_bytes` gives the size that a wanted file may have, and None for what is passed over.
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
                        raise UserError(f"{path}: holds {name} twice")
                    seen.add(name)
                    if member.size > most:
                        raise UserError(
                            f"{path}: {member.name} claims {member.size:,} bytes, where the "
                            f"published file has {most:,} at most"
                        )
                    content = tar.extractfile(member)
                    yield name, content.read() if content else b""
            while plain.read(1 << 20):  # to the end, where gzip keeps its checksum
                pass
    except _BROKEN as error:
        raise UserError(f"{path}: truncated or damaged, or no .tar.gz at all ({error})") from None


class _Bounded(io.RawIOBase):
    """A file that gives only so many bytes."""

    def __init__(self, path: Path, file: IO[bytes], left: int) -> None:
        self.path, self.file, self.left = path, file, left

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self.file.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise UserError(f"{self.path}: unpacks to more bytes than the whole data set has")
        return piece


def _plain(path: Path, file: IO[bytes], total_bytes: int) -> _Bounded:
    magic = file.read(2)
    file.seek(0)
    source: IO[bytes] = gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file  # type: ignore[assignment]
    return _Bounded(path, source, total_bytes + SLACK_BYTES)


def _checked(path: Path, member: tarfile.TarInfo) -> str:
    """The member's file name, if the member stays inside the folder it is unpacked to."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise UserError(f"{path}: {member.name!r} would leave the folder of the archive")
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise UserError(f"{path}: {member.name!r} is neither a plain file nor a folder")
    return name.name
