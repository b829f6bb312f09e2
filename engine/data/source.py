"""What a loader reads its pixels from: the protocol that both kinds of store follow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from engine.data import kernels
from engine.data.beton import Beton
from engine.data.counter import Ids


class SourceBatch(NamedTuple):
    """Unaugmented pixels for one batch, valid until the next one is asked for."""

    images: Tensor  # M H W C, uint8
    rows: Tensor  # which of the M each image of the batch is


class Store(Protocol):
    """The pixels and labels of one file; several loaders may share a store."""

    beton: Beton
    device: torch.device
    labels: Tensor

    @property
    def memory_bytes(self) -> int:
        """The memory it takes: on the device, and for buffers on the host."""

    def batches(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[SourceBatch]:
        """The samples `ids` (on the device: `device_ids`) in order, one batch at a time."""

    def close(self) -> None:
        """Release memory and threads."""


def verify(beton: Beton) -> None:
    """Compare the file's digest with its sidecar's; the kernels are loaded meanwhile."""
    with ThreadPoolExecutor(1) as other_thread:
        digest = other_thread.submit(lambda: beton.sha256)
        kernels.load()
        digest.result()
