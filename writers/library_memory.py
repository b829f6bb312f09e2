"""Release the memory of libraries' files that are mapped but not in use.

A library's code is mapped from its file page by page as it is used, and a kernel that caches files
in large folios maps far more than is used: right after an installation PyTorch and FFCV account for
some 560 MB. Nothing was written to these pages, so they can be dropped at any time; they are read
from the file again when needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator

DONT_NEED = 4  # <sys/mman.h>: MADV_DONTNEED
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) .(.).(.) \S+ \S+ \S+ +(/.*)?")


def release() -> None:
    """Drop the clean pages of mapped files; on other systems than Linux nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        advise = ctypes.CDLL(None).madvise
        for start, end in list(_clean()):
            advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONT_NEED)


def _clean() -> Iterator[tuple[int, int]]:
    """Start and end of private read-only mappings of files without a modified page."""
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        clean = None
        for line in file:
            if mapping := _MAPPING.match(line):
                start, end, write, shared, path = mapping.groups()
                candidate = path and write == "-" and shared == "p"
                clean = (int(start, 16), int(end, 16)) if candidate else None
            elif clean and line.startswith("Anonymous:") and line.split()[1] == "0":
                yield clean
