"""The optimizer: groups of parameters with their rules, their state and its saving.

Rates are Python numbers, or lie on the device so that a CUDA graph can record an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.optim.adam import Adam
from engine.optim.groups import Group, groups_of
from engine.optim.muon import Muon
from engine.optim.rule import Gradients, Number, Rule
from engine.optim.schedules import Rates
from engine.optim.sgd import SGD


class DeviceRates(NamedTuple):
    """`Rates` in device memory, in float32."""

    lr: Tensor  # 0-d, as all of them
    momentum: Tensor
    stem_bias: Tensor | None = None


class Optimizer:
    """Call it after each backward pass; nothing changes where the flag `skip` is set.

    The flag is read by the kernels, so nothing waits. A parameter without a gradient stays as it
    is, with its state. Unless `cycles`, the momentum never moves, and is not read from the device.
    Muon computes its matrices in `dtype`; None: in that of the parameters.

    The state is allocated here and stays where it is, for recorded graphs.
    """

    def __init__(
        self,
        network: nn.Module,
        optim: Optim,
        *,
        cycles: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._cycles = cycles
        self._momentum = optim.betas[0] if optim.name in ("adam", "adamw") else optim.momentum
        self._all = list(network.parameters())
        self._groups = groups_of(network, optim)
        self._rules = {group: self._rule(group, optim, dtype) for group in self._groups}
        self._state = {
            parameter: self._rules[group].fresh(parameter)
            for group, parameters in self._groups.items()
            for parameter in parameters
        }

    @torch.no_grad()
    def __call__(
        self, rates: Rates | DeviceRates, skip: Tensor, skipped: Tensor | None = None
    ) -> None:
        """Make the update; `skipped` is the same flag as float32."""
        skipped = skip.float() if skipped is None else skipped
        for group, members in self._groups.items():
            used = [p for p in members if p.grad is not None]
            if not used:
                continue
            state = {name: [self._state[p][name] for p in used] for name in self._state[used[0]]}
            gradients: list[Tensor] = [p.grad for p in used if p.grad is not None]
            lr, momentum = _lr(group, rates), self._momentum_of(group, rates)
            self._rules[group](Gradients(list(used), gradients, state, lr, momentum, skip, skipped))

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self._all:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The state: `<index of the parameter in the network>.<name>`."""
        return {
            f"{index}.{name}": value
            for index, parameter in enumerate(self._all)
            for name, value in self._state.get(parameter, {}).items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`, into the existing memory."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def _rule(self, group: Group, optim: Optim, dtype: torch.dtype | None) -> Rule:
        if group.rule == "muon":
            return Muon(group, optim, dtype)
        if group.rule == "sgd":
            moves = group.moves and self._cycles
            return SGD(group, moves or bool(self._momentum if group.moves else group.momentum))
        return Adam(group, optim)

    def _momentum_of(self, group: Group, rates: Rates | DeviceRates) -> Number:
        if group.momentum is not None:
            return group.momentum
        if isinstance(rates, DeviceRates) and not self._cycles:
            return self._momentum
        return rates.momentum


def _lr(group: Group, rates: Rates | DeviceRates) -> Number:
    if group.stem_bias:
        assert rates.stem_bias is not None
        return rates.stem_bias
    return rates.lr if group.factor == 1 else rates.lr * group.factor


def clip(parameters: list[nn.Parameter], optim: Optim) -> None:
    """Clip the gradients by value or by norm, if configured."""
    if optim.clip_value:
        nn.utils.clip_grad_value_(parameters, optim.clip_value)
    if optim.clip_norm:
        nn.utils.clip_grad_norm_(parameters, optim.clip_norm)
