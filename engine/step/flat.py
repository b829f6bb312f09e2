"""Copies of many tensors in one block of memory: few operations, whatever the number of tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNMENT = 16  # bytes; of the widest loads, and a multiple of every element's size


class Block(NamedTuple):
    """Tensors side by side in memory."""

    memory: Tensor  # bytes
    places: dict[str, _Place]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, as views."""
        return {name: _view(self.memory, place) for name, place in self.places.items()}

    def on_host(self) -> Block:
        """Queue a copy of the whole to memory of the host."""
        host = torch.empty(self.memory.shape, dtype=torch.uint8, pin_memory=self.memory.is_cuda)
        return Block(host.copy_(self.memory, non_blocking=True), self.places)


class _Place(NamedTuple):
    """A tensor's place in a block."""

    first: int  # byte
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]  # of the tensor's own memory format, without gaps


def blocks_of(tensors: Mapping[str, Tensor], *, at_once: bool) -> Iterator[Block]:
    """Copies of `tensors`: in one block, or in one each."""
    groups = [tensors] if at_once else [{name: each} for name, each in tensors.items()]
    for group in groups:
        if group:
            yield block_of(group)


def block_of(tensors: Mapping[str, Tensor]) -> Block:
    """A copy of `tensors`, all of one device, by one operation per dtype."""
    places, end = {}, 0
    for name, tensor in tensors.items():
        stride = torch.empty_like(tensor, device="meta").stride()
        places[name] = _Place(end, tensor.dtype, tensor.shape, stride)
        end += math.ceil(tensor.numel() * tensor.itemsize / ALIGNMENT) * ALIGNMENT
    device = next(iter(tensors.values())).device
    block = Block(torch.empty(end, dtype=torch.uint8, device=device), places)
    groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for name, copy in block.tensors().items():
        for group, each in zip(groups[copy.dtype], (copy, tensors[name].detach()), strict=True):
            group.append(each)
    for copies, originals in groups.values():
        torch._foreach_copy_(copies, originals)
    return block


def _view(memory: Tensor, place: _Place) -> Tensor:
    size = math.prod(place.shape) * place.dtype.itemsize
    flat = memory[place.first : place.first + size].view(place.dtype)
    return flat.as_strided(place.shape, place.stride)
