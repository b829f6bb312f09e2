"""The GPU's writing of the augmentation equals the reference, on a GPU and without one.

Each promise is tested on what Triton compiles for an H200, run by a small PTX machine; by
Triton's interpreter, in a process of its own; and, where there is one, on a GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.data.augment import gpu, reference
from engine.data.transform import IDENTITY, Transform
from engine.errors import UserError
from tests.support.paths import ROOT

pytest.importorskip("triton", reason="Triton is not installed")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
WAYS = ["interpreter"] if INTERPRETED else ["compiled", CUDA]
compiled_only = pytest.mark.skipif(INTERPRETED, reason="nothing is compiled in this process")

SCALE, SHIFT = np.float32([0.0193, 0.0197, 0.0195]), np.float32([-2.429, -2.418, -2.221])
PIECES = [
    (mode, flip, cutout)
    for mode in ("zeros", "reflect", "edge")
    for flip in ("random", "alternating", "none")
    for cutout in (0, 3)
]
#                   height width padding  seed        epoch
SIZES = {
    "cifar":       (32, 32, 4, 3, 0),
    "odd":         (5, 7, 3, 2**32 - 1, 1),
    "mnist":       (28, 28, 2, 2**32, 7),
    "tiles":       (64, 40, 4, 2**40 + 7, 2**31 + 5),
    "one pixel":   (1, 1, 2, 2**64 - 1, 2**32 - 1),
    "wide":        (2, 48, 20, 2**63 + 11, 300),
    "no padding":  (8, 8, 0, 12345, 2),
}  # fmt: skip


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(params=WAYS)
def device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> Iterator[str]:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if request.param == "compiled":
        _pretend(monkeypatch, cache)
    yield "cuda" if request.param == "cuda" else "cpu"


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Any:
    return _pretend(monkeypatch, cache)


def _pretend(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Any:
    from tests.support.pretend_gpu import PretendGpu

    return PretendGpu(monkeypatch, cache)


def _store(height: int, width: int, rows: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, height, width, 3), np.uint8)


def _batch(images: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.integers(0, len(images), batch), random.integers(0, 2**31, batch)


def _expected(
    images: np.ndarray,
    rows: np.ndarray,
    ids: np.ndarray,
    transform: Transform,
    seed: int,
    epoch: int,
) -> np.ndarray:
    pairs = zip(rows, ids, strict=True)
    return np.stack([reference.augment(images[r], i, transform, seed, epoch) for r, i in pairs])


def _pixels(out: Tensor) -> np.ndarray:
    return out.permute(0, 2, 3, 1).cpu().numpy()


def _on(device: str, *arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array).to(device) for array in arrays]


@pytest.mark.parametrize(("mode", "flip", "cutout"), PIECES)
def test_every_recipe_gives_the_reference_to_the_bit(
    device: str, mode: str, flip: str, cutout: int
) -> None:
    images, transform = _store(6, 8), Transform(3, mode, flip, cutout)
    rows, ids = _batch(images, 5)
    for epoch in (4, 5):  # alternating flips see both
        out = gpu.augment(*_on(device, images, rows, ids), transform, 2**35 + 1, epoch)
        assert (_pixels(out) == _expected(images, rows, ids, transform, 2**35 + 1, epoch)).all()


@pytest.mark.parametrize("size", SIZES)
def test_every_size_seed_and_epoch_gives_the_reference_to_the_bit(device: str, size: str) -> None:
    height, width, padding, seed, epoch = SIZES[size]
    images = _store(height, width)
    mode = "zeros" if padding >= min(height, width) else "reflect"
    transform = Transform(padding, mode, "random", min(height, width, 4) // 2)
    rows, ids = _batch(images, 4)
    out = gpu.augment(*_on(device, images, rows, ids), transform, seed, epoch)
    assert (_pixels(out) == _expected(images, rows, ids, transform, seed, epoch)).all()
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.shape == (4, 3, height, width)


@pytest.mark.parametrize("batch", [0, 1, 7, 130])
def test_a_batch_of_any_size_is_the_same_images(device: str, batch: int) -> None:
    images, transform = _store(4, 4), Transform(2)
    rows, ids = _batch(images, 130)
    out = gpu.augment(*_on(device, images, rows[:batch], ids[:batch]), transform, 5, 1)
    assert (_pixels(out) == _expected(images, rows, ids, transform, 5, 1)[:batch]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("transform", [IDENTITY, Transform(4, "zeros", "random", 5)], ids=str)
def test_floats_are_within_one_rounding(
    device: str, dtype: torch.dtype, transform: Transform
) -> None:
    images = _store(32, 32)
    rows, ids = _batch(images, 3)
    out = gpu.augment(*_on(device, images, rows, ids), transform, 9, 3, dtype, SCALE, SHIFT)
    pixels = _expected(images, rows, ids, transform, 9, 3).astype(np.float64)
    exact = pixels * SCALE.astype(np.float64) + SHIFT
    found = out.permute(0, 2, 3, 1).double().cpu().numpy()
    # The interpreter cuts bfloat16 off where the GPU rounds it; float32 rounds two steps.
    unit = torch.finfo(dtype).eps / (1 if INTERPRETED and dtype is torch.bfloat16 else 2)
    assert (np.abs(found - exact) <= unit * np.abs(exact) + 5e-7).all()
    assert out.dtype is dtype
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_on_the_device_is_that_epoch(device: str) -> None:
    images, transform = _store(8, 8), Transform(2, flip="alternating")
    rows, ids = _batch(images, 4)
    moment = torch.tensor(0, device=device)
    for epoch in (0, 1, 2**31 + 1):
        moment.fill_(epoch)
        out = gpu.augment(*_on(device, images, rows, ids), transform, 1, moment)
        assert (_pixels(out) == _expected(images, rows, ids, transform, 1, epoch)).all()


def test_a_step_on_the_device_picks_the_batch_of_the_epoch(device: str) -> None:
    images, transform = _store(8, 8), Transform(2)
    rows, ids = _batch(images, 12)
    expected = _expected(images, rows, ids, transform, 1, 6)
    out = torch.empty((4, 3, 8, 8), dtype=torch.uint8, device=device)
    out = out.to(memory_format=torch.channels_last)
    for step in range(3):
        at = torch.tensor(step, device=device)
        gpu.augment(*_on(device, images, rows, ids), transform, 1, 6, out=out, step=at)
        assert (_pixels(out) == expected[4 * step : 4 * step + 4]).all()


def test_it_writes_to_the_memory_that_it_is_given_and_to_no_other(device: str) -> None:
    images, transform = _store(7, 5), Transform(2)
    rows, ids = _batch(images, 3)
    ring = torch.full((5, 7, 5, 3), 77, dtype=torch.uint8, device=device)
    out = ring[1:4].permute(0, 3, 1, 2)
    back = gpu.augment(*_on(device, images, rows, ids), transform, 1, 6, out=out)
    assert back is out
    assert (_pixels(out) == _expected(images, rows, ids, transform, 1, 6)).all()
    assert (ring[0] == 77).all()
    assert (ring[4] == 77).all()


def test_numpys_numbers_will_do(device: str) -> None:
    images, transform = _store(8, 8), Transform(2)
    rows, ids = _batch(images, 2)
    out = gpu.augment(*_on(device, images, rows, ids), transform, np.int64(2**40), np.int64(6))  # type: ignore[arg-type]
    assert (_pixels(out) == _expected(images, rows, ids, transform, 2**40, 6)).all()


def test_slices_of_an_epochs_ids_are_batches(device: str) -> None:
    images, transform = _store(8, 8), Transform(2)
    rows, ids = _batch(images, 7)
    store, all_rows, all_ids = _on(device, images, rows, ids)
    for part in (slice(0, 3), slice(3, 6), slice(6, 9)):
        out = gpu.augment(store, all_rows[part], all_ids[part], transform, 1, 6)
        assert (_pixels(out) == _expected(images, rows[part], ids[part], transform, 1, 6)).all()


def test_without_rows_the_store_is_the_batch(device: str) -> None:
    images, transform = _store(8, 8), Transform(2)
    _, ids = _batch(images, 4)
    store, samples = _on(device, images, ids)
    out = gpu.augment(store, None, samples, transform, 1, 6)
    assert (_pixels(out) == _expected(images, np.arange(4), ids, transform, 1, 6)).all()


def test_labels_are_gathered_in_the_same_launch(device: str) -> None:
    images, transform = _store(64, 40), Transform(2)  # several programs an image
    rows, ids = _batch(images, 5)
    labels = torch.arange(6, device=device) * 10 - 1
    found = torch.full((5,), -9, device=device)
    gpu.augment(*_on(device, images, rows, ids), transform, 1, 6, labels=labels, labels_out=found)
    assert (found.cpu().numpy() == rows * 10 - 1).all()


def test_without_padding_or_flip_the_images_come_as_they_are(device: str) -> None:
    images = _store(9, 16)
    rows, ids = _batch(images, 4)
    out = gpu.augment(*_on(device, images, rows, ids), IDENTITY, 1, 6)
    assert (_pixels(out) == images[rows]).all()


@compiled_only
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
def test_wrong_input_is_refused_by_name(pretend: Any, change: dict[str, Any], message: str) -> None:
    given = {
        "images": torch.zeros(4, 8, 8, 3, dtype=torch.uint8),
        "rows": torch.zeros(3, dtype=torch.int64),
        "ids": torch.zeros(3, dtype=torch.int64),
        "transform": Transform(2),
        "seed": 1,
        "epoch": 1,
    }
    with pytest.raises(UserError, match=message):
        gpu.augment(**(given | change))
    assert not pretend.compiled


@compiled_only
def test_all_that_is_wrong_is_said_at_once(pretend: Any) -> None:
    images = torch.zeros(4, 8, 8, 3)
    with pytest.raises(UserError) as caught:
        gpu.augment(images, None, torch.zeros(3), Transform(2), -1, -1, torch.int8)
    assert len(caught.value.problems) == 5


@compiled_only
def test_a_cpu_tensor_is_refused_by_name() -> None:
    images, ids = torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(UserError, match="images lie on cpu: the Triton kernel needs a CUDA device"):
        gpu.augment(images, ids, ids, IDENTITY, 0, 0)


@compiled_only
def test_rows_beyond_two_gibibytes_are_reached(pretend: Any) -> None:
    row = 2**31 // 3072 + 5
    store = np.zeros((row + 1, 32, 32, 3), np.uint8)  # only what is touched takes memory
    store[row] = _store(32, 32)[0]
    rows, ids = np.array([row]), np.array([3])
    out = gpu.augment(*_on("cpu", store, rows, ids), Transform(), 1, 6)
    assert (_pixels(out) == _expected(store, rows, ids, Transform(), 1, 6)).all()


@compiled_only
def test_batches_seeds_and_epochs_compile_nothing_anew(pretend: Any) -> None:
    pretend.run = False
    images, rows, ids = torch.zeros(9, 8, 8, 3, dtype=torch.uint8), *(torch.zeros(99).long(),) * 2
    for batch in (1, 2, 7, 16, 33, 99):
        for seed in (0, 1, 16, 2**31, 2**32 + 1, 2**64 - 1):
            for epoch in (0, 1, 16, 1000):
                part = slice(99 - batch, 99)
                gpu.augment(images, rows[part], ids[part], Transform(2), seed, epoch)
    assert len(pretend.compiled) == 1
    for epoch in range(3):
        gpu.augment(images, rows, ids, Transform(2), 0, torch.tensor(epoch))
    assert len(pretend.compiled) == 2  # the epoch's address instead of the epoch


@compiled_only
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H200"])
@pytest.mark.parametrize("dtype", gpu.DTYPES, ids=str)
def test_the_compiled_kernel_stores_16_bytes_at_once_and_spills_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capability: int, dtype: torch.dtype
) -> None:
    from tests.support.pretend_gpu import PretendGpu

    pretend = PretendGpu(monkeypatch, tmp_path, capability)
    pretend.run = False
    images, ids = torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.zeros(2).long()
    for transform in (IDENTITY, Transform(), Transform(4, "reflect", "alternating", 8)):
        gpu.augment(images, ids, ids, transform, 1, 1, dtype)
    for kernel in pretend.compiled:
        stores = re.findall(r"st\.global\.(\S+)", kernel.asm["ptx"])
        assert set(stores) == {"v4.b32"}
        assert kernel.metadata.shared == 0  # no exchange between threads
        used = _resources(kernel.asm["cubin"], tmp_path)
        assert used["STACK"] == used["LOCAL"] == 0
        assert used["REG"] <= 128  # at least four programs of four warps on an SM
    assert len(pretend.compiled) == 3


def _resources(cubin: bytes, folder: Path) -> dict[str, int]:
    import triton

    (folder / "kernel.cubin").write_bytes(cubin)
    tool = Path(triton.knobs.nvidia.cuobjdump.path)
    if not tool.exists():
        pytest.skip("cuobjdump does not come with this Triton")
    shown = subprocess.run(
        [tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True
    )
    return {name: int(number) for name, number in re.findall(r"([A-Z]+):(\d+)", shown.stdout)}


@compiled_only
@pytest.mark.timeout(180)  # it is about 40 tests
def test_the_interpreter_keeps_the_same_promises(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\b[3-9]\d passed", done.stdout)


@compiled_only
@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        ("sys.modules['triton'] = None", "Triton is not installed"),
        ("", "images lie on cpu"),
    ],
    ids=["no triton", "no gpu"],
)
def test_a_machine_without_a_gpu_imports_it_and_is_told_what_is_missing(
    prepare: str, expected: str, tmp_path: Path
) -> None:
    code = (
        f"import sys; {prepare}\n"
        "import torch; from engine.data import transform; from engine.data.augment import gpu\n"
        "from engine.errors import UserError\n"
        "assert 'engine.data.augment.gpu_kernel' not in sys.modules\n"
        "n = torch.zeros(1).long()\n"
        "try: gpu.augment(torch.zeros(1, 4, 4, 3).byte(), n, n, transform.IDENTITY, 0, 0)\n"
        "except UserError as error: print(error)\n"
    )
    home = os.environ | {"HOME": "/proc/no-home"}  # where nobody can write
    home.pop("TRITON_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=home, capture_output=True, text=True
    )
    assert expected in done.stdout, done.stderr
