"""A GPU that is only pretended, for tests of the kernel that Triton compiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Triton keeps what it compiles in this session."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def pretend_gpu(monkeypatch: pytest.MonkeyPatch, kernel_cache: Path) -> Any:
    """`gpu.augment` is compiled for an H200 and run by the PTX machine."""
    from tests.support.pretend_gpu import PretendGpu

    return PretendGpu(monkeypatch, kernel_cache)
