"""Batch norm in other ways than `BatchNorm2d`, with the same result and the same state.

`SharedNorm` is over a batch that several ranks share; each rank has some of its images. Forward,
the ranks gather each other's moments (mean, sum of squared deviations, number of values); backward,
they add up two sums per channel. Their parts may have different sizes, but none may be empty.

In training the running averages are only written, never read by what is differentiated: torch's
compiler (2.11) otherwise computes wrong gradients, or fails (torch pull request 197039).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAP = (0, 2, 3)  # the dimensions of one channel's values: N C H W


class Ranks(Protocol):
    """The processes that share each batch."""

    @property
    def count(self) -> int:
        """How many there are."""

    def gather(self, values: Tensor) -> Tensor:
        """The `values` of each rank, in their order, along a new first dimension."""

    def sum_(self, values: Tensor) -> None:
        """Replace `values` by their sum over all ranks."""


class UncountedNorm(nn.BatchNorm2d):
    """Takes over from a `BatchNorm2d`; others count its batches, for all norms at once."""

    counts = False  # whether it counts its batches itself

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        for name, value in (*norm.named_parameters(), *norm.named_buffers()):
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:  # N C H W
        """As `BatchNorm2d`."""
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None
        mean, variance = self.running_mean, self.running_var
        return F.batch_norm(
            input, mean, variance, self.weight, self.bias, True, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        """As of `BatchNorm2d`; it also names the compiled code."""
        parts: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return parts if self.counts else f"{parts}, uncounted"


class SharedNorm(UncountedNorm):
    """`nn.BatchNorm2d` with the statistics of all ranks' images."""

    counts = True

    def __init__(self, norm: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(norm)
        self.ranks = ranks

    def forward(self, input: Tensor) -> Tensor:  # N C H W
        """Normalise over all ranks' images; in evaluation by the running averages."""
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            values = input.to(torch.promote_types(input.dtype, torch.float32))
            mean, variance, number = _moments(values, self.ranks)
            self._track(mean, variance, number)
            scale = torch.rsqrt(variance + self.eps)
        out: Tensor = _Normalised.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, mean, scale, number, self.ranks
        )
        return out

    def extra_repr(self) -> str:
        """As of `UncountedNorm`, and the number of ranks."""
        return f"{super().extra_repr()}, ranks={self.ranks.count}"

    def _track(self, mean: Tensor, variance: Tensor, number: Tensor) -> None:
        """Move the running averages; torch's variance there is the unbiased one."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        unbiased = variance * (number / (number - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        if self.counts:
            self.num_batches_tracked += 1


def count_together(network: nn.Module) -> None:
    """Let no batch norm within `network` count its batches: `counters` are what to count with."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, SharedNorm):
                child.counts = False
            elif type(child) is nn.BatchNorm2d:
                setattr(module, name, UncountedNorm(child))


def counters(network: nn.Module) -> list[Tensor]:
    """`num_batches_tracked` of each norm that does not count by itself."""
    norms = [each for each in network.modules() if isinstance(each, UncountedNorm)]
    return [norm.get_buffer("num_batches_tracked") for norm in norms if not norm.counts]


def share(network: nn.Module, ranks: Ranks) -> None:
    """Replace each `BatchNorm2d` within `network` by one that normalises over all ranks."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SharedNorm(child, ranks))


def _moments(values: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of all ranks' values per channel."""
    variance, mean = torch.var_mean(values, MAP, correction=0)
    own = torch.full_like(mean, values.numel() // values.shape[1])
    means, squares, numbers = ranks.gather(torch.stack((mean, variance * own, own))).unbind(1)
    number = numbers.sum(0)
    mean = (means * numbers).sum(0) / number
    squares = squares + numbers * (means - mean).square()
    return mean, squares.sum(0) / number, number


class _Normalised(torch.autograd.Function):
    """(x - mean) * scale * weight + bias, where mean and scale depend on all ranks' x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        scale: Tensor,
        number: Tensor,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, scale, number)
        ctx.ranks = ranks
        factor = scale * weight
        out = x.to(mean.dtype) * _wide(factor) + _wide(bias - mean * factor)
        # A `to` that changes nothing cuts the gradient under torch's compiler (2.11).
        return out if out.dtype == x.dtype else out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, number = ctx.saved_tensors
        gradient = outputs[0].to(mean.dtype)
        normalised = (x.to(mean.dtype) - _wide(mean)) * _wide(scale)
        sums = torch.stack((gradient.sum(MAP), (gradient * normalised).sum(MAP)))
        of_bias, of_weight = sums.clone().unbind()
        of_x = None
        if ctx.needs_input_grad[0]:
            ctx.ranks.sum_(sums)
            shift, slope = (sums / number).unbind()
            of_x = gradient - _wide(shift) - normalised * _wide(slope)
            of_x = (of_x * _wide(scale * weight)).to(x.dtype)
        return of_x, of_weight, of_bias, None, None, None, None


def _wide(values: Tensor) -> Tensor:
    """Values per channel, for all values of a map."""
    return values[:, None, None]
