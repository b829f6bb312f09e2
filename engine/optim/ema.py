"""The exponential moving average of the weights, which is evaluated and is the result of a run.

Batch norm's running averages are averaged with the weights that they belong to. Training goes on
with its own weights and does not see the average.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.optim.averages import averaged, move

WEIGHTS = "weights."  # before their names in `MovingAverage.tensors`


class MovingAverage:
    """Call it after each update; `skip` is true for steps that made none.

    As Lookahead it counts on the device and has no branch. It begins, as a copy of the weights,
    after the share `optim.ema_start` of the run's `steps`.
    """

    def __init__(self, network: nn.Module, optim: Optim, steps: int = 0) -> None:
        named = averaged(network, statistics=True)
        self._names, self._weights = list(named), list(named.values())
        self._averages = [tensor.clone() for tensor in self._weights]
        device = self._weights[0].device
        self._updates = torch.zeros((), dtype=torch.int64, device=device)
        self._share = torch.full_like(self._averages[0].flatten()[0], 1 - optim.ema_decay)
        self._every, self._first = optim.ema_every, round(optim.ema_start * steps)

    @torch.no_grad()
    def __call__(self, skip: Tensor, *, may_read: bool = False) -> None:
        """Count an update, and average every so many updates.

        Where the host `may_read` the device, it does nothing in between.
        """
        self._updates += ~skip
        since = self._updates - self._first
        due = ~skip & (since >= 0) & (since % self._every == 0)
        if may_read and not bool(due):
            return
        share = torch.where(since == 0, 1.0, self._share)
        move(self._averages, self._weights, share * due)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """In here the network has the averages; before they begin, they are the weights of now."""
        if int(self._updates) < self._first:
            torch._foreach_copy_(self._averages, self._weights)
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """The averages by their names in the network, and the count."""
        named = {WEIGHTS + name: each for name, each in self._by_name().items()}
        return named | {"updates": self._updates}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`, into the existing memory."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def _by_name(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._averages, strict=True))

    def _swap(self) -> None:
        held = [tensor.clone() for tensor in self._weights]
        torch._foreach_copy_(self._weights, self._averages)
        torch._foreach_copy_(self._averages, held)
