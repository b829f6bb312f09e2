"""Standard output and standard error of a command: always open, and no reason to fail a run.

A terminal is closed, `| head` has read enough, a disk is full: what cannot be written is dropped
where it is only told to whoever watches.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def ensure_open() -> None:
    """Lead to /dev/null what was closed (`>&-`): else a file of ours would get its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process


@contextlib.contextmanager
def dropping(name: str) -> Iterator[None]:
    """In here a write to the stream `name` of `sys` never fails."""
    before: TextIO = getattr(sys, name)
    stream = forgiving(before)
    setattr(sys, name, stream)
    try:
        yield
    finally:
        settle(stream)
        setattr(sys, name, before)


def forgiving(stream: TextIO) -> TextIO:
    """A stream to the same file that drops what cannot be written to it.

    One without a file, such as a test's, is returned as it is.
    """
    try:
        raw = _Forgiving(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):
        return stream
    settle(stream)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def has_no_reader(stream: TextIO) -> bool:
    """Whether it is a pipe or a socket that nobody will read again."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def settle(stream: TextIO) -> None:
    """Write what is buffered, or drop it: Python would try again at its end, and exit with 120."""
    with contextlib.suppress(ValueError):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
                stream.flush()


class _Forgiving(io.FileIO):
    def write(self, content: Any) -> int:
        with contextlib.suppress(OSError):
            written = super().write(content)
            if written is not None:
                return written
        return len(content)
