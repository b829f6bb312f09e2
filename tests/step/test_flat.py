"""A block of tensors is an exact copy of each, in few operations."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.model import ResNet, Variant
from engine.step.flat import block_of, blocks_of
from tests.support.operations import Operations

KINDS = {
    "maps": torch.randn(8, 3, 3, 3).to(memory_format=torch.channels_last),
    "matrix": torch.randn(5, 7).T,
    "gaps": torch.arange(20.0)[::3],
    "expanded": torch.ones(1, 3).expand(4, 3),
    "number": torch.tensor(7),
    "sum": torch.tensor(1.5, dtype=torch.float64),
    "flags": torch.tensor([True, False, True]),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "half": torch.randn(3).bfloat16(),
    "none": torch.empty(0),
    "parameter": torch.nn.Parameter(torch.randn(3)),
}


def _equal(copies: dict[str, Tensor], tensors: dict[str, Tensor]) -> bool:
    same = [
        torch.equal(copies[name], each) and copies[name].dtype == each.dtype
        for name, each in tensors.items()
    ]
    return copies.keys() == tensors.keys() and all(same)


def test_copies_equal_their_tensors_whatever_their_dtype_and_layout() -> None:
    block = block_of(KINDS)
    for each in (block, block.on_host(), block.on_host().on_host()):
        assert _equal(each.tensors(), KINDS)
    assert block.tensors()["maps"].is_contiguous(memory_format=torch.channels_last)
    assert not any(each.requires_grad for each in block.tensors().values())


def test_copies_keep_what_the_tensors_were() -> None:
    tensors = {"a": torch.arange(3), "b": torch.ones(2)}
    block = block_of(tensors)
    host = block.on_host()
    before = {name: each.clone() for name, each in tensors.items()}
    for each in tensors.values():
        each.zero_()
    assert _equal(block.tensors(), before)
    block.memory.zero_()
    assert _equal(host.tensors(), before)


def test_a_network_is_copied_by_an_operation_per_dtype_and_one_to_the_host() -> None:
    state = ResNet(Variant((2, 2), (8, 16))).state_dict()
    with Operations() as operations:
        block_of(state).on_host()
    assert operations.counts == {"aten._foreach_copy_.default": 2, "aten.copy_.default": 1}


def test_apart_there_is_a_block_per_tensor() -> None:
    apart = list(blocks_of(KINDS, at_once=False))
    assert len(apart) == len(KINDS)
    assert _equal({k: v for each in apart for k, v in each.tensors().items()}, KINDS)
    assert len(list(blocks_of(KINDS, at_once=True))) == 1
    assert not list(blocks_of({}, at_once=True))
