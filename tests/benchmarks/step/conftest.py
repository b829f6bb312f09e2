"""Trainers set torch's switches for their process; a test must not leave them behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _switches_as_before() -> Iterator[None]:
    cudnn, matmul, threads = (
        torch.backends.cudnn,
        torch.backends.cuda.matmul,
        torch.get_num_threads(),
    )
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
    torch.set_num_threads(threads)
