"""What Lookahead and the moving average share: which tensors they average, and how they move."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def averaged(network: nn.Module, *, statistics: bool) -> dict[str, Tensor]:
    """The trained parameters by name and, with `statistics`, batch norm's running averages."""
    tensors: dict[str, Tensor] = {
        name: parameter.detach()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    if not statistics:
        return tensors
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            for name in ("running_mean", "running_var"):
                tensors[f"{path}.{name}"] = module.get_buffer(name)
    return tensors


def move(targets: list[Tensor], towards: list[Tensor], share: Tensor) -> None:
    """Interpolate `targets` towards `towards` by `share`; exact at 0 and at 1."""
    steps = torch._foreach_mul(towards, share)
    torch._foreach_mul_(targets, 1 - share)
    torch._foreach_add_(targets, steps)
