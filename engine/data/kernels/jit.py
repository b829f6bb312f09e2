"""Functions in machine code: the one file that says how Numba compiles and where it keeps them.

Compiling costs a second, so the code is kept on disk: in NUMBA_CACHE_DIR where the user names
one, else in `__pycache__` beside the source as Python's own byte code, and nowhere else: in an
install that cannot be written, each process compiles for itself. (Numba alone would then write
into the home folder.) Numba keeps code by signature, by the processor's name and features, so
that a copied folder compiles anew on another processor, and by a hash of the function's file; as
it does not see a change in another file whose code was compiled in, the hash here is of them all.

Import files of compiled functions only where they are needed: that loads Numba.
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
    """Machine code for one signature, made now or read from disk; it runs without the GIL."""

    def compile_now(function: Function) -> Function:
        dispatcher = njit(nogil=True, cache=_may_keep(function))(function)
        try:
            if hasattr(dispatcher._cache, "_cache_file"):  # private; without it, Numba's own rule
                dispatcher._cache._cache_file._source_stamp = _sources()
            dispatcher.compile(signature)
        except Exception:  # a full disk, a damaged cache: neither is a reason not to run
            with contextlib.suppress(Exception):
                dispatcher._cache.flush()
            dispatcher = njit(nogil=True)(function)
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return cast(Function, dispatcher)

    return compile_now


def inline_njit(function: Function) -> Function:
    """A function for compiled functions only: it becomes a part of each that calls it."""
    return cast(Function, njit(function))


# Decorates a function for compiled functions only, written in LLVM's code.
intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.extending.intrinsic


def at(builder: Any, address: Any, kind: Any) -> Any:
    """LLVM's pointer to a value of that kind."""
    return builder.inttoptr(address, ir.PointerType(kind))


@cache
def _sources() -> str:
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _may_keep(function: Callable[..., Any]) -> bool:
    named = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(named or Path(function.__code__.co_filename).parent / "__pycache__")
    try:
        folder.mkdir(parents=bool(named), exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
