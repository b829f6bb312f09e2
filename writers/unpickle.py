"""Read CIFAR's Python batches, which are pickles, without running anything that they name.

A pickle names the functions that build its values. Only the five names that a batch needs are
accepted, and each is replaced by an inert class of this module: not even numpy's own code gets the
content before its shape has been checked.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from writers import pickle_check


class NotABatch(ValueError):
    """The pickle is not one of CIFAR's; the message says what is wrong."""


def load(content: bytes) -> dict[bytes, Any]:
    """The dictionary of a batch; its array of images as `numpy.ndarray`, its strings as bytes."""
    try:
        if wrong := pickle_check.problem(content):
            raise NotABatch(wrong)
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except NotABatch:
        raise
    except (Exception, RecursionError) as error:  # a damaged pickle can raise nearly any exception
        raise NotABatch(f"damaged pickle ({type(error).__name__}: {error})") from None
    if not isinstance(value, dict):
        raise NotABatch(f"a pickle of {type(value).__name__}, not of a dictionary")
    return {_name(key): _array(item) for key, item in value.items()}


class _Dtype:
    """Replaces `numpy.dtype`: keeps the type code."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Replaces the array under construction: keeps shape, type and bytes."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _encoded(text: object, encoding: object) -> bytes:
    """Replaces `_codecs.encode`, with which Python 3 writes bytes into old pickles."""
    if not isinstance(text, str) or encoding != "latin1":
        raise NotABatch("an encoding other than latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise NotABatch(f"a pickle that imports {module}.{name}, which no CIFAR batch does")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise NotABatch("a pickle that refers to something outside of it")


def _name(key: object) -> bytes:
    return key.encode() if isinstance(key, str) else key if isinstance(key, bytes) else b"?"


def _array(item: object) -> object:
    if not isinstance(item, _Array):
        return item
    state = item.state
    if not isinstance(state, tuple) or len(state) != 5:
        raise NotABatch("an array without its content")
    _, shape, dtype, fortran, content = state
    if not isinstance(dtype, _Dtype) or dtype.code not in (b"u1", "u1", b"|u1", "|u1"):
        raise NotABatch("an array of another type than uint8")
    if fortran or not isinstance(content, bytes) or not isinstance(shape, tuple):
        raise NotABatch("an array in another order than CIFAR's")
    if len(shape) != 2 or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise NotABatch(f"an array of shape {shape}")
    if shape[0] * shape[1] != len(content):
        raise NotABatch(f"an array of shape {shape} with {len(content):,} bytes")
    return np.frombuffer(content, np.uint8).reshape(shape)
