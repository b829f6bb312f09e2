"""Lookahead around either optimizer (Zhang et al., 2019): k steps forward, a part of them back.

Slow weights follow the fast ones that the optimizer moves; where they meet, every k steps, the
fast ones go on from the slow ones. The optimizer's own memory and batch norm's statistics are left
as they are, and what is evaluated and saved are the fast weights, as in the reports' ancestor.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.config.schema import Optim


class Lookahead:
    """Call it after each update, with the flag of steps that made none.

    It counts on the device and has no branch: where nothing is to happen all is multiplied by one
    and by zero, which changes nothing. So a graph can record it, and nothing waits for it.
    """

    def __init__(self, parameters: list[nn.Parameter], optim: Optim) -> None:
        self._fast: list[Tensor] = list(parameters)
        self._slow = [p.detach().clone() for p in parameters]
        self._updates = torch.zeros((), dtype=torch.int64, device=parameters[0].device)
        self._alpha = torch.full_like(self._slow[0].flatten()[0], optim.lookahead_alpha)
        self._k = optim.lookahead_k
        self._from_first = optim.lookahead_start == "first"

    @torch.no_grad()
    def __call__(self, skip: Tensor) -> None:
        """Count an update, and bring slow and fast weights together where they are to meet."""
        self._updates += ~skip
        meets = ~skip & (self._updates % self._k == (1 % self._k if self._from_first else 0))
        share = self._alpha
        if self._from_first:  # where the slow weights begin
            share = torch.where(self._updates == 1, 1.0, share)
        here = meets.to(share.dtype)
        _move(self._slow, self._fast, here * share)
        _move(self._fast, self._slow, here)

    def tensors(self) -> dict[str, Tensor]:
        """The slow weights and the count."""
        named = {f"slow.{index}": slow for index, slow in enumerate(self._slow)}
        return named | {"updates": self._updates}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring back what `tensors` gave, into the memory that is there."""
        for name, held in self.tensors().items():
            held.copy_(tensors[name])


def _move(targets: list[Tensor], towards: list[Tensor], share: Tensor) -> None:
    """`targets` a share of the way; exactly nowhere at 0 and exactly there at 1."""
    steps = torch._foreach_mul(towards, share)
    torch._foreach_mul_(targets, 1 - share)
    torch._foreach_add_(targets, steps)
