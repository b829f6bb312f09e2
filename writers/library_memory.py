"""Memory that a process only borrows from its libraries' files, given back.

A library's code is mapped from its file, page by page as it is used, and a kernel that keeps files
in large pieces maps far more than is used: right after an installation PyTorch and FFCV bring
some 560 MB of it. Nothing was ever written to these pages, so they can go at any time and come
back from the file when they are asked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator

DONT_NEED = 4  # <sys/mman.h>: MADV_DONTNEED
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .(.).(.) \S+ \S+ \S+ +(/.*)?")


def release() -> None:
    """Let go of the clean pages of mapped files; Linux only, elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        advise = ctypes.CDLL(None).madvise
        for start, end in list(_clean()):
            advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONT_NEED)


def _clean() -> Iterator[tuple[int, int]]:
    """The private mappings of files that can't be written and of which no page ever was."""
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        found = None
        for line in file:
            if mapping := _MAPPING.match(line):
                start, end, write, shared, path = mapping.groups()
                clean = path and write == "-" and shared == "p"
                found = (int(start, 16), int(end, 16)) if clean else None
            elif found and line.startswith("Anonymous:") and line.split()[1] == "0":
                yield found
