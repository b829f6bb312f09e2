"""Muon for the filters of convolutions: momentum, made orthogonal (Jordan et al., 2024).

Each bank of filters is a matrix with one row per output channel. Its update has the singular
vectors of the momentum and singular values near 1, so that all directions learn at one rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.optim.groups import Group
from engine.optim.rule import BUFFER, Gradients, fused_sgd, scale

LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315  # Jordan's: the steepest at 0 that stays near 1
SMALLEST = 1e-7  # norm, so that a zero gradient gives a zero update


class Muon:
    """Banks of one shape are made orthogonal together, in `dtype` (None: their own).

    With `optim.muon_normalise` each bank has the norm sqrt(output channels) before each update and
    weight decay would change nothing, so there is none; else it is decoupled, as AdamW's.
    """

    def __init__(self, group: Group, optim: Optim, dtype: torch.dtype | None) -> None:
        self._decay, self._nesterov = group.weight_decay, group.nesterov
        self._steps, self._normalise = optim.muon_steps, optim.muon_normalise
        self._dtype = dtype

    def fresh(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The buffer of the momentum."""
        return {BUFFER: torch.zeros_like(parameter)}

    def __call__(self, given: Gradients) -> None:
        """One update; a skipped one computes directions from what there is and leaves them."""
        parameters, buffers = given.parameters, given.state[BUFFER]
        scale(buffers, given.momentum, given.skip)
        fused_sgd(given, buffers, given.gradients, [], -1.0)
        moved = buffers
        if self._nesterov:
            moved = list(torch._foreach_mul(buffers, given.momentum))
            torch._foreach_add_(moved, given.gradients)
        updates = self._orthogonal(moved)
        if self._normalise:
            _normalise(parameters, given.skip)
        elif self._decay:
            scale(parameters, 1 - given.lr * self._decay, given.skip)
        fused_sgd(given, parameters, updates, [], given.lr)

    def _orthogonal(self, banks: Sequence[Tensor]) -> list[Tensor]:
        """The orthogonal update of each bank, in its place in memory order."""
        by_shape: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        matrices = [_matrix(bank) for bank in banks]
        for index, matrix in enumerate(matrices):
            by_shape[matrix.shape[0], matrix.shape[1]].append(index)
        updates: list[Tensor] = list(banks)
        for indices in by_shape.values():
            stack = torch.stack([matrices[index] for index in indices])
            results = orthogonal(stack, self._steps, self._dtype)
            for index, result in zip(indices, results.unbind(), strict=True):
                updates[index] = result.as_strided(banks[index].shape, banks[index].stride())
        return updates


def orthogonal(matrices: Tensor, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """Matrices (N rows columns) with singular values near 1, by Newton-Schulz iterations."""
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + SMALLEST)
    x = x.to(dtype or matrices.dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:  # the smaller of the two squares
        x = x.mT
    for _ in range(steps):
        square = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(square, square, square, beta=CUBIC, alpha=QUINTIC)
        x = torch.baddbmm(x, polynomial, x, beta=LINEAR)
    result: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return result.contiguous()


def _matrix(bank: Tensor) -> Tensor:
    """One row per output channel; its columns in memory order, whose order does not matter."""
    rows, columns = len(bank), bank[0].numel()
    matrix: Tensor = bank.as_strided((rows, columns), (columns, 1))
    return matrix


def _normalise(banks: list[Tensor], skip: Tensor) -> None:
    """Give each bank the norm sqrt(output channels), unless skipped."""
    factors = list(torch._foreach_norm(banks))
    torch._foreach_clamp_min_(factors, SMALLEST)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, [len(bank) ** 0.5 for bank in banks])
    masked = torch.where(skip, 1.0, torch.stack(factors))
    torch._foreach_mul_(banks, masked.unbind())
