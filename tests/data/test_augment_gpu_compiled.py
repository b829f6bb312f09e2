"""What Triton compiles for a GPU: checked input, one compilation, wide stores, no spilling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from engine.data.augment import gpu
from engine.data.transform import IDENTITY, Transform
from engine.errors import UserError
from tests.support import augment
from tests.support.pretend_gpu import PretendGpu
from tests.support.processes import succeed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(4, 8, 8, 3)}, r"images \(torch.float32.*expected torch.uint8"),
        ({"images": torch.zeros(4, 3, 8, 8, dtype=torch.uint8)}, r"images.*\(any, any, any, 3\)"),
        ({"ids": torch.zeros(3, dtype=torch.int32)}, r"ids \(torch.int32.*expected torch.int64"),
        ({"ids": torch.zeros(6, dtype=torch.int64)[::2]}, "ids.*contiguous"),
        ({"rows": torch.zeros(2, dtype=torch.int64)}, r"rows.*expected the shape \(3\)"),
        ({"seed": -1}, r"seed -1: expected 0 to 2\*\*64 - 1"),
        ({"epoch": -1}, r"epoch -1: expected 0 to 2\*\*32 - 1"),
        ({"epoch": torch.zeros(1, dtype=torch.int64)}, r"epoch.*expected the shape \(\)"),
        ({"out_dtype": torch.int32}, r"out_dtype torch.int32: expected one of torch.uint8"),
        ({"out": torch.zeros(3, 3, 8, 8, dtype=torch.uint8)}, "out.*contiguous memory"),
        ({"out": torch.zeros(3)}, r"out \(torch.float32, \(3,\)\): expected torch.uint8"),
        ({"step": torch.tensor(0)}, "step without out"),
        ({"rows": None, "ids": torch.zeros(5).long()}, "rows None: a batch of 5 needs as many"),
        ({"scale": torch.ones(3)}, "scale .*: expected three numbers"),
        ({"shift": (1.0,)}, "shift .*: expected three numbers"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "labels and labels_out"),
        ({"transform": Transform(8, "reflect")}, "crop_padding 8: reflect padding must be smaller"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_input_is_an_error(pretend_gpu: Any, change: dict[str, Any], message: str) -> None:
    valid = {
        "images": torch.zeros(4, 8, 8, 3, dtype=torch.uint8),
        "rows": torch.zeros(3, dtype=torch.int64),
        "ids": torch.zeros(3, dtype=torch.int64),
        "transform": Transform(2),
        "seed": 1,
        "epoch": 1,
    }
    with pytest.raises(UserError, match=message):
        gpu.augment(**(valid | change))
    assert not pretend_gpu.compiled


def test_all_problems_are_reported_at_once(pretend_gpu: Any) -> None:
    images = torch.zeros(4, 8, 8, 3)
    with pytest.raises(UserError) as caught:
        gpu.augment(images, None, torch.zeros(3), Transform(2), -1, -1, torch.int8)
    assert len(caught.value.problems) == 5


def test_rows_beyond_two_gibibytes_are_reached(pretend_gpu: Any) -> None:
    row = 2**31 // 3072 + 5
    store = np.zeros((row + 1, 32, 32, 3), np.uint8)  # only what is touched takes memory
    store[row] = augment.store(32, 32)[0]
    rows, ids = np.array([row]), np.array([3])
    out = gpu.augment(*augment.on("cpu", store, rows, ids), Transform(), 1, 6)
    assert (augment.pixels(out) == augment.expected(store, rows, ids, Transform(), 1, 6)).all()


def test_batches_seeds_and_epochs_compile_nothing_anew(pretend_gpu: Any) -> None:
    pretend_gpu.run = False
    images, rows, ids = torch.zeros(9, 8, 8, 3, dtype=torch.uint8), *(torch.zeros(99).long(),) * 2
    for batch in (1, 2, 7, 16, 33, 99):
        for seed in (0, 1, 16, 2**31, 2**32 + 1, 2**64 - 1):
            for epoch in (0, 1, 16, 1000):
                part = slice(99 - batch, 99)
                gpu.augment(images, rows[part], ids[part], Transform(2), seed, epoch)
    assert len(pretend_gpu.compiled) == 1
    for epoch in range(3):
        gpu.augment(images, rows, ids, Transform(2), 0, torch.tensor(epoch))
    assert len(pretend_gpu.compiled) == 2  # the epoch's address instead of the epoch


@pytest.mark.parametrize(
    "capability", [pytest.param(90, id="H200"), pytest.param(80, id="A100", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("dtype", gpu.DTYPES, ids=str)
def test_the_compiled_kernel_stores_16_bytes_at_once_and_spills_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capability: int, dtype: torch.dtype
) -> None:
    pretend_gpu = PretendGpu(monkeypatch, tmp_path, capability)
    pretend_gpu.run = False
    images, ids = torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.zeros(2).long()
    for transform in (IDENTITY, Transform(), Transform(4, "reflect", "alternating", 8)):
        gpu.augment(images, ids, ids, transform, 1, 1, dtype)
    for kernel in pretend_gpu.compiled:
        stores = re.findall(r"st\.global\.(\S+)", kernel.asm["ptx"])
        assert set(stores) == {"v4.b32"}
        assert kernel.metadata.shared == 0  # no exchange between threads
        used = _resources(kernel.asm["cubin"], tmp_path)
        assert used["STACK"] == used["LOCAL"] == 0
        assert used["REG"] <= 128  # at least four programs of four warps on an SM
    assert len(pretend_gpu.compiled) == 3


def _resources(cubin: bytes, folder: Path) -> dict[str, int]:
    import triton

    (folder / "kernel.cubin").write_bytes(cubin)
    tool = Path(triton.knobs.nvidia.cuobjdump.path)
    if not tool.exists():
        pytest.skip("cuobjdump does not come with this Triton")
    output = succeed(tool, "-res-usage", folder / "kernel.cubin")
    return {name: int(number) for name, number in re.findall(r"([A-Z]+):(\d+)", output)}
