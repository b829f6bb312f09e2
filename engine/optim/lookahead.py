"""Lookahead around any optimizer (Zhang et al., 2019): k steps forward, one step back.

Every k steps the slow weights move towards the fast ones, which the optimizer trains, by the factor
alpha, and the fast ones continue from there. The optimizer's state is not changed. By default
neither are batch norm's statistics, and the fast weights are evaluated and saved, as in the code
behind the reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.optim.averages import averaged, move


class Lookahead:
    """Call it after each update; `skip` is true for steps that made none.

    It counts on the device and has no branch: between synchronisations everything is multiplied by
    one and by zero, which changes nothing. So a graph can record it, and nothing waits for it.
    `steps` are those of the whole run, over which alpha falls.
    """

    def __init__(self, network: nn.Module, optim: Optim, steps: int = 0) -> None:
        self._fast = list(averaged(network, statistics=optim.lookahead_buffers).values())
        self._slow = [tensor.clone() for tensor in self._fast]
        self._updates = torch.zeros((), dtype=torch.int64, device=self._fast[0].device)
        self._alpha = torch.full_like(self._slow[0].flatten()[0], optim.lookahead_alpha)
        self._k, self._power, self._steps = optim.lookahead_k, optim.lookahead_power, steps
        self._from_first = optim.lookahead_start == "first"
        self._ends_slow = optim.lookahead_end == "slow"

    @torch.no_grad()
    def __call__(self, skip: Tensor, *, may_read: bool = False) -> None:
        """Count an update, and synchronise slow and fast weights every k updates.

        Where the host `may_read` the device, it does nothing in between.
        """
        self._updates += ~skip
        due = ~skip & (self._updates % self._k == (1 % self._k if self._from_first else 0))
        if may_read and not bool(due):
            return
        share = self._share()
        if self._from_first:  # the slow weights start as the fast ones after one update
            share = torch.where(self._updates == 1, 1.0, share)
        now = due.to(share.dtype)
        move(self._slow, self._fast, now * share)
        move(self._fast, self._slow, now)

    def finish(self) -> None:
        """After the last step of a run: the weights that it ends with."""
        if self._ends_slow:
            torch._foreach_copy_(self._fast, self._slow)

    def tensors(self) -> dict[str, Tensor]:
        """The slow weights and the count."""
        named = {f"slow.{index}": slow for index, slow in enumerate(self._slow)}
        return named | {"updates": self._updates}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`, into the existing memory."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def _share(self) -> Tensor:
        """How far the slow weights move towards the fast ones."""
        if not self._power:
            return self._alpha
        done = self._updates.double() / self._steps
        return (1 - (1 - self._alpha.double()) * done**self._power).to(self._alpha.dtype)
