"""Triton compiles for a GPU that is not there, and the PTX machine runs the result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from engine.data.augment import gpu
from tests.support.ptx_machine import Machine

H200, A100 = 90, 80  # compute capabilities


class PretendGpu:
    """Takes the place of `gpu_kernel` in `gpu.augment`: the CPU runs each launch.

    All but the last step is real: Triton inspects the arguments of each launch, decides whether
    to compile, and lowers the kernel for the GPU.
    """

    INTERPRETED = True  # it takes CPU tensors

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, cache: Path, capability: int = H200
    ) -> None:
        from engine.data.augment import gpu_kernel

        self._kernel: Any = gpu_kernel.augment
        self._compiled = _compiling(monkeypatch, self._kernel, cache, capability)
        self._machines: dict[str, Machine] = {}
        monkeypatch.setattr(gpu, "_kernel", lambda: self)
        self.augment = self
        self.run = True

    @property
    def compiled(self) -> list[Any]:
        """The kernels that were compiled so far."""
        return self._compiled()

    def __getitem__(self, grid: tuple[int, int]) -> Any:
        def launch(*arguments: Any, **options: Any) -> None:
            kernel = self._kernel.run(*arguments, grid=grid, warmup=True, **options)
            values = [each for each in arguments if each is not None]
            tensors = [each for each in values if torch.is_tensor(each)]
            if self.run:
                machine = self._machines.setdefault(kernel.hash, Machine(kernel.asm["ptx"]))
                numbers = [each.data_ptr() if torch.is_tensor(each) else each for each in values]
                try:
                    machine.launch(grid, numbers, [_bytes(each) for each in tensors])
                except NotImplementedError as error:  # another Triton than ours
                    pytest.skip(f"the PTX machine does not know {error}")

        return launch


def compiled_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, cache: Path
) -> Callable[[], list[Any]]:
    """From now on launches of this kernel compile it and no more; returns what was compiled."""
    kernel = getattr(module, name)
    compiled = _compiling(monkeypatch, kernel, cache, H200)

    class Launcher:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *given, **options: kernel.run(*given, grid=grid, warmup=True, **options)

    monkeypatch.setattr(module, name, Launcher())
    return compiled


def _compiling(
    monkeypatch: pytest.MonkeyPatch, kernel: Any, cache: Path, capability: int
) -> Callable[[], list[Any]]:
    """Let Triton compile `kernel` for a GPU that is not there; returns what it compiled."""
    import triton
    from triton.backends.compiler import GPUTarget

    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", capability, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
    )
    caches: Any = defaultdict(kernel.create_binder)
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    monkeypatch.setattr(kernel, "device_caches", caches)
    monkeypatch.setattr(triton.knobs.cache, "dir", str(cache))
    return lambda: list(caches[0][0].values())


def _bytes(tensor: torch.Tensor) -> Any:
    """The memory of a tensor and nothing around it."""
    size = tensor.numel() * tensor.itemsize
    storage = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    first = tensor.storage_offset() * tensor.itemsize
    return storage[first : first + size].numpy()
