"""How Numba compiles functions, and where it keeps the machine code.

Compiling takes seconds, so the code is kept on disk: in NUMBA_CACHE_DIR if the user sets it, else
in `__pycache__` beside the source, like Python's own byte code. Where neither can be written, each
process compiles anew (Numba by itself would write to the home folder). Numba's cache key is the
signature, the processor's name and features, and a stamp of the function's file. It does not
notice a change in another file whose code is inlined, so the stamp here is a hash of all sources
below `engine/data`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending
from llvmlite import ir

Function = TypeVar("Function", bound=Callable[..., Any])

njit: Any = numba.njit  # typed in some of its versions, and not as it behaves
types: Any = numba.types

READ_IDS = types.Array(types.int64, 1, "C", readonly=True)
READ_POINTERS = types.Array(types.uint64, 1, "C", readonly=True)
READ_FLOATS = types.Array(types.float32, 1, "C", readonly=True)
IDS = types.int64[::1]


def eager_njit(signature: Any) -> Callable[[Function], Function]:
    """Compile for one signature, now or from the cache; the code runs without the GIL."""

    def compile_now(function: Function) -> Function:
        dispatcher = njit(nogil=True, cache=_can_cache(function))(function)
        try:
            if hasattr(dispatcher._cache, "_cache_file"):  # private; without it, Numba's own rule
                dispatcher._cache._cache_file._source_stamp = _sources()
            dispatcher.compile(signature)
        except Exception:  # a full disk or a damaged cache is no reason to fail
            with contextlib.suppress(Exception):
                dispatcher._cache.flush()
            dispatcher = njit(nogil=True)(function)
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return cast(Function, dispatcher)

    return compile_now


def inline_njit(function: Function) -> Function:
    """A function that only compiled functions call; it is compiled into each of them."""
    return cast(Function, njit(function))


# Decorates a function that only compiled functions call, written in LLVM's intermediate code.
intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.extending.intrinsic


def at(builder: Any, address: Any, type_: Any) -> Any:
    """LLVM's pointer to a value of that type."""
    return builder.inttoptr(address, ir.PointerType(type_))


@cache
def _sources() -> str:
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _can_cache(function: Callable[..., Any]) -> bool:
    named = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(named or Path(function.__code__.co_filename).parent / "__pycache__")
    try:
        folder.mkdir(parents=bool(named), exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
