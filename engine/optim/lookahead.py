"""Lookahead around any optimizer (Zhang et al., 2019): k steps forward, one step back.

Every k steps the slow weights move towards the fast ones, which the optimizer trains, by the factor
alpha, and the fast ones continue from there. The optimizer's state and batch norm's statistics are
not changed, and the fast weights are evaluated and saved, as in the code behind the reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.config.schema import Optim


class Lookahead:
    """Call it after each update; `skip` is true for steps that made none.

    It counts on the device and has no branch: between synchronisations everything is multiplied by
    one and by zero, which changes nothing. So a graph can record it, and nothing waits for it.
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
        """Count an update, and synchronise slow and fast weights every k updates."""
        self._updates += ~skip
        due = ~skip & (self._updates % self._k == (1 % self._k if self._from_first else 0))
        share = self._alpha
        if self._from_first:  # the slow weights start as the fast ones after one update
            share = torch.where(self._updates == 1, 1.0, share)
        now = due.to(share.dtype)
        _move(self._slow, self._fast, now * share)
        _move(self._fast, self._slow, now)

    def tensors(self) -> dict[str, Tensor]:
        """The slow weights and the count."""
        named = {f"slow.{index}": slow for index, slow in enumerate(self._slow)}
        return named | {"updates": self._updates}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`, into the existing memory."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


def _move(targets: list[Tensor], towards: list[Tensor], share: Tensor) -> None:
    """Interpolate `targets` towards `towards` by `share`; exact at 0 and at 1."""
    steps = torch._foreach_mul(towards, share)
    torch._foreach_mul_(targets, 1 - share)
    torch._foreach_add_(targets, steps)
