"""Opening a store: the whole set in memory of the device, or a stream from the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from engine.config.wording import either
from engine.data.beton import Beton, open_beton
from engine.data.counter import Ids
from engine.data.source import SourceBatch, Store
from engine.data.stream import Stream
from engine.errors import UserError

MODES = ("auto", "resident", "stream")
SHARE_OF_MEMORY = 0.6  # of the free memory; the network needs some as well


class Resident(Store):
    """A file copied once into memory of the device."""

    def __init__(self, beton: Beton, device: torch.device) -> None:
        super().__init__(beton, device)
        self.images = torch.from_numpy(beton.images()).to(device)  # N H W C

    @property
    def memory_bytes(self) -> int:
        """The pixels and the labels."""
        return self.images.nbytes + self.labels.nbytes

    def batches(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[SourceBatch]:
        """No pixel is moved: the rows are the ids."""
        for first in range(0, len(ids), batch_size):
            yield SourceBatch(self.images, device_ids[first : first + batch_size])

    def close(self) -> None:
        """Nothing to do: the memory is freed with the last reference."""


def open_store(
    path: str | Path, device: torch.device | str, mode: str = "auto", beton: Beton | None = None
) -> Store:
    """Verify `path` to its last byte and make its pixels ready for `device`."""
    device = torch.device(device)
    beton = open_beton(path, verify=False) if beton is None else beton
    if choose_mode(mode, beton, device) == "resident":
        return Resident(beton, device)
    return Stream(beton, device)


def choose_mode(mode: str, beton: Beton, device: torch.device) -> str:
    """`resident` or `stream`; `auto` is `resident` if the decoded images fit into free memory."""
    if mode not in MODES:
        raise UserError(f"mode {mode!r}: expected {either(MODES)}")
    if mode != "auto":
        return mode
    fits = len(beton) * beton.image_bytes <= SHARE_OF_MEMORY * free_bytes(device)
    return "resident" if fits else "stream"


def free_bytes(device: torch.device) -> int:
    """How much memory is free, as far as the system says; a container's limit counts."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limits = [_lines(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current")]
    if all(limits) and limits[0][0].isdigit():  # "max" where there is no limit
        free = min(free, int(limits[0][0]) - int(limits[1][0]))
    return max(free, 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
