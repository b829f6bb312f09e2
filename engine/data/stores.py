"""Where a loader's pixels lie: all on the device, or in the file, some batches ahead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from engine.data import kernels
from engine.data.beton import Beton, open_beton
from engine.data.order import Ids
from engine.errors import UserError

MODES = ("auto", "resident", "stream")
SHARE_OF_MEMORY = 0.6  # of what is free; the network wants some as well


class Part(NamedTuple):
    """Undistorted pixels for one batch, valid until the next part is asked for."""

    images: Tensor  # M H W C, uint8
    rows: Tensor  # which of the M each image of the batch is


class Store(Protocol):
    """What a loader reads from; loaders of one set may share a store."""

    beton: Beton
    device: torch.device
    labels: Tensor

    @property
    def memory_bytes(self) -> int:
        """What it holds in the memory of the device, and beside it for the sake of the feed."""

    def parts(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[Part]:
        """The samples `ids` (on the device: `device_ids`) in order, a batch at a time."""

    def close(self) -> None:
        """Let go of memory and threads."""


class Resident:
    """A checked file, gathered once into memory of the device."""

    def __init__(self, beton: Beton, device: torch.device) -> None:
        check(beton)
        self.beton = beton
        self.device = device
        self.images = torch.from_numpy(beton.images()).to(device)  # N H W C
        self.labels = torch.from_numpy(beton.labels).to(device)

    @property
    def memory_bytes(self) -> int:
        """The pixels and the labels."""
        return self.images.nbytes + self.labels.nbytes

    def parts(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[Part]:
        """Nothing moves: the rows are the ids."""
        for first in range(0, len(ids), batch_size):
            yield Part(self.images, device_ids[first : first + batch_size])

    def close(self) -> None:
        """Memory goes with the last who holds this."""


def check(beton: Beton) -> None:
    """Compare the file's digest, whatever it was opened with, while the kernels are loaded."""
    with ThreadPoolExecutor(1) as other_thread:
        digest = other_thread.submit(lambda: beton.sha256)
        kernels.load()
        digest.result()


def open_store(
    path: str | Path, device: torch.device | str, mode: str = "auto", beton: Beton | None = None
) -> Store:
    """Check `path` to its last byte and make its pixels ready for `device`."""
    where = torch.device(device)
    beton = open_beton(path, verify=False) if beton is None else beton
    if chosen(mode, beton, where) == "resident":
        return Resident(beton, where)
    from engine.data.stream import Stream

    return Stream(beton, where)


def chosen(mode: str, beton: Beton, device: torch.device) -> str:
    """`resident` or `stream`; `auto` asks whether the decoded images fit into free memory."""
    if mode not in MODES:
        raise UserError(f"mode {mode!r}: expected {', '.join(MODES[:-1])} or {MODES[-1]}")
    if mode != "auto":
        return mode
    fits = len(beton) * beton.image_bytes <= SHARE_OF_MEMORY * free_bytes(device)
    return "resident" if fits else "stream"


def free_bytes(device: torch.device) -> int:
    """How much memory could still be taken, as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limits = [_lines(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current")]
    if all(limits) and limits[0][0].isdigit():  # in a container; "max" without a limit
        free = min(free, int(limits[0][0]) - int(limits[1][0]))
    return max(free, 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def to_device(array: Ids, device: torch.device) -> Tensor:
    """A copy on `device` that nothing waits for."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
