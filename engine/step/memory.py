"""Freed memory stays in the process, in huge pages, for the next step.

A step on a CPU allocates and frees blocks of many megabytes. glibc returns those to the system at
once, and each step then takes a hundred thousand page faults: up to half of its time, in a virtual
machine. With another C library or allocator, or without huge pages, nothing changes.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools

import torch

from engine.data.stores import free_bytes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
MADV_HUGEPAGE = 14
HUGE_PAGE = 2 << 20
RESERVED = 4 << 30  # bytes of address space; pages are allocated at their first use


@functools.cache
def keep() -> bool:
    """Configure malloc, once per process; false where it does not support that."""
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # a C library without one of these
        keeps = library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and library.mallopt(M_MMAP_MAX, 0)
        if keeps:
            _reserve(library)
        return bool(keeps)
    return False


def _reserve(library: ctypes.CDLL) -> None:
    """Ask for huge pages where the heap will grow."""
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = (ctypes.c_size_t,)
    library.free.argtypes = (ctypes.c_void_p,)
    library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    size = min(RESERVED, free_bytes(torch.device("cpu")) // 2)
    block = library.malloc(size)
    if not block:  # a limit on addresses
        return
    first = -(-block // HUGE_PAGE) * HUGE_PAGE
    last = (block + size) // HUGE_PAGE * HUGE_PAGE
    if last > first:
        library.madvise(first, last - first, MADV_HUGEPAGE)
    library.free(block)  # stays the top of the heap, as nothing is trimmed
