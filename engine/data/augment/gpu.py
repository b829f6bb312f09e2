"""The augmentation on a GPU: one launch makes a batch, and nothing waits for the device.

The same uint8 pixels as `reference`, bit for bit. What changes between batches, epochs and runs
(ids, epoch, seed, batch size) is an argument of one compiled kernel; the transform, the image
size and the dtype are compiled in. With TRITON_INTERPRET=1, set before Triton is imported, the
same kernel runs on CPU tensors, slowly.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from engine.data.augment import toolchain
from engine.data.counter import Purpose
from engine.data.transform import Transform
from engine.errors import UserError

DTYPES = (torch.uint8, torch.float32, torch.bfloat16, torch.float16)
STORE_BYTES = 16  # the widest store instruction of a thread
TILE_ELEMENTS = 4096  # in one program: a whole image of 32 x 32 pixels fits
GROUPS_PER_THREAD = 4  # loads in flight at once, without running out of registers
WARP = 32


def augment(
    images: Tensor,
    rows: Tensor | None,
    ids: Tensor,
    transform: Transform,
    seed: int,
    epoch: int | Tensor,
    out_dtype: torch.dtype = torch.uint8,
    scale: Sequence[float] = (1.0, 1.0, 1.0),
    shift: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    out: Tensor | None = None,
    step: Tensor | None = None,
    labels: Tensor | None = None,
    labels_out: Tensor | None = None,
) -> Tensor:
    """The samples `ids` after `transform` in `epoch`: N C H W in channels_last.

    `images` is the store (M H W C, uint8), `rows` says which of its images each sample is (None:
    0, 1, 2, ...; resident data has rows = ids). uint8 gives the pixels, the other dtypes
    pixel * scale + shift. `out` is memory to write to instead of new memory; `labels_out` gets
    labels[rows]. The host does not check the values of ids and rows, so they must be right.

    For a CUDA graph pass `out` and an `epoch` on the device (0-d, int64), which each replay
    reads. With `step` (likewise) rows and ids are those of a whole epoch, and the batch begins
    at step * len(out). Call once before the capture: the first call compiles.
    """
    kernel = _kernel()
    if images.is_cuda:
        _make_ready(kernel)
    counted = out if out is not None and step is not None else ids
    batch = counted.shape[:1].numel()
    wrong = _wrong_device(images, kernel) + _wrong_numbers(images, seed, epoch, step, out)
    wrong += _wrong("images", images, images, torch.uint8, (None, None, None, 3))
    if out_dtype not in DTYPES:
        wrong.append(f"out_dtype {out_dtype}: expected one of {', '.join(map(str, DTYPES))}")
    if (labels is None) != (labels_out is None):
        wrong.append("labels and labels_out: expected both or neither")
    if rows is None and batch > images.shape[:1].numel():
        wrong.append(
            f"rows None: a batch of {batch} needs as many images, but there are {len(images)}"
        )
    for name, numbers in (("scale", scale), ("shift", shift)):
        if isinstance(numbers, Tensor) or len(numbers) != 3:
            wrong.append(f"{name} {numbers}: expected three numbers, not on a device")
    for name, vector, shape in (
        ("ids", ids, (None,)),
        ("rows", rows, ids.shape),
        ("labels", labels, images.shape[:1]),
        ("labels_out", labels_out, (batch,)),
    ):
        wrong += _wrong(name, vector, images, torch.int64, shape)
    if wrong:
        raise UserError(*wrong)
    _, height, width, _ = images.shape
    nhwc = (batch, height, width, 3)
    if out is None:
        out = torch.empty(nhwc, dtype=out_dtype, device=images.device).permute(0, 3, 1, 2)
    else:
        memory = out.permute(0, 2, 3, 1) if out.ndim == 4 else out
        if wrong := _wrong("out", memory, images, out_dtype, nhwc):
            raise UserError(*wrong)
    if batch == 0:
        return out
    if not isinstance(epoch, Tensor):
        epoch = int(epoch)  # Triton accepts no numpy scalars
    code, tiles, warps = _code(transform, height, width, out_dtype)
    with torch.cuda.device(images.device) if images.is_cuda else nullcontext():
        kernel.augment[batch, tiles](
            out,
            images,
            rows,
            ids,
            epoch,
            step,
            labels,
            labels_out,
            int(seed) & 0xFFFFFFFF,
            int(seed) >> 32,
            *(float(each) for each in scale),
            *(float(each) for each in shift),
            EPOCH_IN_MEMORY=isinstance(epoch, Tensor),
            **code,
            num_warps=warps,
        )
    return out


def prepare() -> None:
    """Make ready to launch kernels, before there is any work; else the first launch does it."""
    _make_ready(_kernel())


@cache
def _make_ready(kernel: ModuleType) -> None:
    if not kernel.INTERPRETED:
        toolchain.prepare()


@cache
def _kernel() -> ModuleType:
    try:
        from engine.data.augment import gpu_kernel
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise UserError(
            "Triton is not installed, and the loader needs it on a CUDA device: install a PyTorch "
            "with CUDA, or use --device cpu"
        ) from None
    _let_triton_write(gpu_kernel.CACHE)
    return gpu_kernel


def _let_triton_write(setting: Any) -> None:
    """Use a temporary folder for compiled kernels if Triton's own cannot be written."""
    folder = Path(setting.dir)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        setting.dir = mkdtemp(prefix="kernels-")
        atexit.register(rmtree, setting.dir, ignore_errors=True)


@cache
def _code(
    transform: Transform, height: int, width: int, dtype: torch.dtype
) -> tuple[dict[str, Any], int, int]:
    """What the kernel is compiled with, the programs per image, the warps per program."""
    transform.check(height, width)
    row = 3 * width
    vector = min(row & -row, STORE_BYTES // dtype.itemsize)  # a group never straddles two rows
    groups = height * row // vector
    tile = min(max(1 << (groups - 1).bit_length(), WARP), TILE_ELEMENTS // vector)
    code = {
        "PURPOSE": int(Purpose.AUGMENT),
        "HEIGHT": height,
        "WIDTH": width,
        "PADDING": transform.crop_padding,
        "MODE": transform.padding_mode if transform.crop_padding else "none",
        "FLIP": transform.flip,
        "CUTOUT": transform.cutout,
        "NORMALISE": dtype is not torch.uint8,
        "VECTOR": vector,
        "TILE": tile,
    }
    return code, -(-groups // tile), max(tile // (GROUPS_PER_THREAD * WARP), 1)


def _wrong(
    name: str,
    tensor: Tensor | None,
    images: Tensor,
    dtype: torch.dtype,
    shape: tuple[int | None, ...],
) -> list[str]:
    """Why the kernel cannot use `tensor`, if there is one; a size of None is any."""
    if tensor is None:
        return []
    fits = tensor.ndim == len(shape) and all(map(_fits, shape, tensor.shape))
    near, dense = tensor.device == images.device, tensor.is_contiguous()
    if tensor.dtype is dtype and fits and near and dense:
        return []
    label = f"{name} ({tensor.dtype}, {tuple(tensor.shape)})"
    wrong = []
    if tensor.dtype is not dtype:
        wrong.append(f"{label}: expected {dtype}")
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        wrong.append(f"{label}: expected the shape ({sizes})")
    if not near:
        wrong.append(f"{label} is on {tensor.device}, the images on {images.device}")
    if not dense:
        strides = tensor.stride()
        wrong.append(f"{label}: expected contiguous memory, images as N H W C; found {strides}")
    return wrong


def _fits(size: int | None, actual: int) -> bool:
    return size is None or size == actual


def _wrong_device(images: Tensor, kernel: ModuleType) -> list[str]:
    if images.is_cuda or kernel.INTERPRETED:
        return []
    return [
        f"images are on {images.device}: the Triton kernel needs a CUDA device; "
        "engine.data.augment.cpu is the implementation for the CPU"
    ]


def _wrong_numbers(
    images: Tensor, seed: int, epoch: int | Tensor, step: Tensor | None, out: Tensor | None
) -> list[str]:
    wrong = []
    if not 0 <= seed < 1 << 64:
        wrong.append(f"seed {seed}: expected 0 to 2**64 - 1")
    if isinstance(epoch, Tensor):
        wrong += _wrong("epoch", epoch, images, torch.int64, ())
    elif not 0 <= epoch < 1 << 32:
        wrong.append(f"epoch {epoch}: expected 0 to 2**32 - 1")
    wrong += _wrong("step", step, images, torch.int64, ())
    if step is not None and out is None:
        wrong.append("step without out: only out says how many images a batch has")
    return wrong
