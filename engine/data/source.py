"""What a loader reads its pixels from: what both kinds of store have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from engine.data import kernels
from engine.data.beton import Beton
from engine.data.counter import Ids


class SourceBatch(NamedTuple):
    """Unaugmented pixels for one batch, valid until the next one is asked for."""

    images: Tensor  # M H W C, uint8
    rows: Tensor  # which of the M each image of the batch is


class Store(ABC):
    """The pixels and labels of one verified file; several loaders may share a store."""

    def __init__(self, beton: Beton, device: torch.device) -> None:
        with ThreadPoolExecutor(1) as other_thread:  # the kernels are loaded meanwhile
            digest = other_thread.submit(lambda: beton.sha256)
            kernels.load()
            digest.result()
        self.beton, self.device = beton, device
        self.labels = torch.from_numpy(beton.labels).to(device)

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """The memory it takes: on the device, and for buffers on the host."""

    @abstractmethod
    def batches(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[SourceBatch]:
        """The samples `ids` (on the device: `device_ids`) in order, one batch at a time."""

    @abstractmethod
    def close(self) -> None:
        """Release memory and threads."""
