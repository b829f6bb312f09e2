"""The optimizers, and how their rates and state are set, saved and brought back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from engine.config.schema import Optim
from engine.optim.schedules import Rates


def make(network: nn.Module, optim: Optim, *, cycles: bool = False) -> Optimizer:
    """The optimizer over all parameters, in its fused form: one kernel, one pass over memory.

    Its state is allocated here and stays where it is, for recorded graphs.
    `cycles` says that a schedule will move the momentum, also where it begins at 0.
    """
    parameters = list(network.parameters())
    if optim.name == "adam":
        adam = Adam(
            parameters,
            optim.lr,
            (optim.betas[0], optim.betas[1]),
            optim.eps,
            optim.weight_decay,
            fused=True,
        )
        for parameter in parameters:
            adam.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return adam
    sgd = SGD(
        parameters,
        optim.lr,
        optim.momentum,
        weight_decay=optim.weight_decay,
        nesterov=optim.nesterov,
        fused=True,
    )
    if optim.momentum or cycles:
        # torch would leave them uninitialised if the very first update were masked on a GPU.
        for parameter in parameters:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def set_rates(optimizer: Optimizer, rates: Rates) -> None:
    """Set the rates of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rates.lr
        if "betas" in group:
            group["betas"] = (rates.momentum, group["betas"][1])
        else:
            group["momentum"] = rates.momentum


def step_unless(optimizer: Optimizer, skip: Tensor) -> None:
    """One update unless the flag `skip` is set, which the kernels read: nothing waits."""
    optimizer.grad_scale = None  # type: ignore[attr-defined]
    optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.found_inf = None  # type: ignore[attr-defined]


def clip(parameters: list[nn.Parameter], optim: Optim) -> None:
    """Clip the gradients by value or by norm, if configured."""
    if optim.clip_value:
        nn.utils.clip_grad_value_(parameters, optim.clip_value)
    if optim.clip_norm:
        nn.utils.clip_grad_norm_(parameters, optim.clip_norm)


def state_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat named tensors: `<parameter index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entry in state.items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def restore(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the result of `state_tensors`, into the existing memory."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        optimizer.state[parameters[int(index)]][name].copy_(value)
