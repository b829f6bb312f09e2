"""Counts torch's operations: on a GPU each is a kernel, or a few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")


class Operations(TorchDispatchMode):
    """While entered, counts the operations that compute, by name; views and new memory do not."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._within = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        free = func.is_view or "empty" in func._schema.name or "detach" in func._schema.name
        if not (free or self._within):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))

    def as_kernel(self, stand_in: Callable[..., Result]) -> Callable[..., Result]:
        """`stand_in`, whose operations count as one."""

        def call(*arguments: Any) -> Result:
            self.counts["kernel"] += 1
            self._within = True
            try:
                return stand_in(*arguments)
            finally:
                self._within = False

        return call
