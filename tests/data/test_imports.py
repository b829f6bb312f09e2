"""The loader imports neither Numba nor Triton before it needs them."""

from __future__ import annotations

import pytest

from tests.support.processes import python, succeed

SCRIPT = """
import sys
import engine.data.loader, engine.data.sets
import torch
from engine.data.augment import gpu
from engine.data.transform import IDENTITY
from engine.errors import UserError

print(sorted({"numba", "triton", "engine.data.augment.gpu_kernel"} & sys.modules.keys()))

def attempt():
    ids = torch.zeros(1).long()
    try:
        gpu.augment(torch.zeros(1, 4, 4, 3).byte(), ids, ids, IDENTITY, 0, 0)
    except UserError as error:
        print(error)

sys.modules["triton"] = None
attempt()
del sys.modules["triton"]
attempt()
"""


def test_a_machine_without_triton_or_a_gpu_imports_the_loader_and_names_what_is_missing() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    no_home = ("env", "-u", "TRITON_CACHE_DIR", "-u", "TRITON_HOME", "HOME=/proc/no-home")
    output = succeed(*no_home, *python("-c", SCRIPT))
    loaded, without_triton, without_gpu = output.splitlines()
    assert loaded == "[]"
    assert "Triton is not installed" in without_triton
    assert "images are on cpu: the Triton kernel needs a CUDA device" in without_gpu
