"""The parts of a network: convolutions, skip path, squeeze-and-excitation, block, transition.

Every convolution and pool of a block turns a map of side n into one of ceil(n / stride), whatever
the kernel, so that its two paths always have the same size. The whitening stem alone has no
padding, and the pool of a transition drops the last row and column of an odd map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from engine.model.variants import Layer, Variant

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}


def batch_norm(variant: Variant, width: int) -> nn.BatchNorm2d:
    """A batch norm as the variant has them; one without a scale keeps it at 1, untrained."""
    norm = nn.BatchNorm2d(width, variant.norm_eps, variant.norm_momentum)
    norm.weight.requires_grad_(variant.norm_scale)
    return norm


class Padded(nn.Conv2d):
    """A convolution that may pad input and filters with channels of zeros: the same function.

    Tensor cores take channels in groups; a first convolution of 3 otherwise runs beside them. The
    filters are padded as they are used, so that weights are the same with and without.
    """

    pad_to = 0  # channels

    def padded(self, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The input and the filters to convolve it with."""
        missing = self.pad_to - self.in_channels
        if missing <= 0:
            return input, self.weight
        zeros = (0, 0, 0, 0, 0, missing)
        return F.pad(input, zeros), F.pad(self.weight, zeros)

    def extra_repr(self) -> str:
        """As of `Conv2d`; it also names the compiled code."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{text}, pad_to={self.pad_to}" if self.pad_to else text


class Whitening(Padded):
    """The first convolution of fixed filters, without padding; only its bias is trained.

    The bias is added apart: the backward pass of a convolution would compute the gradient of the
    filters on the way to that of the bias.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(3, width, kernel)
        self.weight.requires_grad_(False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # N C H W
        """Return the responses of all filters, biased."""
        assert self.bias is not None
        responses = F.conv2d(*self.padded(input))
        return responses + self.bias.to(responses.dtype)[:, None, None]


class Convolution(Padded):
    """A convolution without bias, for any kernel from 1 up.

    Each side is padded by (kernel - 1) // 2: an odd kernel sits in the middle, and the 2x2 skip of
    stride 2 in report 001 needs no padding. Where an even kernel would then miss the last row or
    column (stride 1, or a map of odd side), that edge alone gets one more zero.

    A strided 1x1 convolution of few channels selects its pixels first: oneDNN (in torch 2.11)
    otherwise writes past a buffer in its backward pass, with channels_last and two threads, and
    the process hangs, crashes or computes wrong numbers (oneDNN issue 6035).
    """

    FEWEST_CHANNELS = 16  # below it, oneDNN's block of channels is wider than the input

    def __init__(self, before: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            before, width, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # N C H W
        """Convolve; the sizes are Python integers, so nothing here branches on a tensor."""
        if self.kernel_size[0] == 1 and self.in_channels < self.FEWEST_CHANNELS:
            pixels = input[:, :, :: self.stride[0], :: self.stride[1]]
            return F.conv2d(pixels, self.weight)
        if self.kernel_size[0] % 2 == 0:
            right, bottom = (
                int((side - 1) % self.stride[0] == 0) for side in (input.shape[3], input.shape[2])
            )
            if right or bottom:
                input = F.pad(input, (0, right, 0, bottom))
        out: torch.Tensor = self._conv_forward(*self.padded(input), self.bias)
        return out


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from all channels' means (Hu et al., 2018).

    Its inner activation is ReLU, as published, whatever that of the network.
    """

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // reduction, 1)
        self.excite = nn.Conv2d(width // reduction, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x`, rescaled."""
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


def skip_path(variant: Variant, layer: Layer) -> nn.Sequential:
    """The skip path of a layer's first block where the size changes.

    A max pool takes over the convolution's stride; a pre-activation network normalises the input
    of the path, not its output.
    """
    path = nn.Sequential()
    stride = layer.stride
    if variant.skip == "maxpool" and stride != 1:
        path.append(nn.MaxPool2d(stride, stride, ceil_mode=True))
        stride = 1
    path.append(Convolution(layer.before, layer.width, layer.skip_kernel, stride))
    if not variant.preactivation:
        path.append(batch_norm(variant, layer.width))
    return path


class PooledConvolution(Convolution):
    """A convolution before a 2x2 max pool, which drops the last row and column of an odd map.

    They are left out: the same result with fewer FLOPs (13 % of them for a map of 15).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve to a map of even sides."""
        if not (input.shape[2] % 2 or input.shape[3] % 2):
            return super().forward(input)
        kernel = self.kernel_size[0]
        first = (kernel - 1) // 2
        right, bottom = (kernel - 1 - first - side % 2 for side in (input.shape[3], input.shape[2]))
        return F.conv2d(F.pad(input, (first, right, first, bottom)), self.weight)


class Transition(nn.Module):
    """The beginning of a layer that halves the map: convolution, 2x2 max pool, norm, activation."""

    def __init__(self, variant: Variant, layer: Layer) -> None:
        super().__init__()
        self.conv = PooledConvolution(layer.before, layer.width, layer.kernel)
        self.pool = nn.MaxPool2d(2)
        self.norm = batch_norm(variant, layer.width)
        self.activation = ACTIVATIONS[variant.activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of half the side, rounded down."""
        return self.activation(self.norm(self.pool(self.conv(x))))


class Block(nn.Module):
    """Two convolutions and a skip path: relu(x + norm(conv(relu(norm(conv(x)))))).

    With `preactivation` (He et al., 2016, v2) batch norm and activation precede each convolution,
    and a skip path that changes the size starts from the activated input.
    """

    def __init__(self, variant: Variant, layer: Layer, first: bool) -> None:
        super().__init__()
        before, stride = (layer.before, layer.stride) if first else (layer.width, 1)
        self.preactivation = variant.preactivation
        self.activation = ACTIVATIONS[variant.activation]
        self.conv1 = Convolution(before, layer.width, layer.kernel, stride)
        self.norm1 = batch_norm(variant, before if variant.preactivation else layer.width)
        self.conv2 = Convolution(layer.width, layer.width, layer.kernel)
        self.norm2 = batch_norm(variant, layer.width)
        squeezes = variant.se == "block"
        self.se = SqueezeExcite(layer.width, variant.se_reduction) if squeezes else None
        self.skip = skip_path(variant, layer) if first and layer.projects else None
        drops = variant.dropout > 0 and variant.dropout_place == "block"
        self.dropout = nn.Dropout(variant.dropout) if drops else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, after dropout if there is any."""
        if self.preactivation:
            active = self.activation(self.norm1(x))
            skipped: torch.Tensor = x if self.skip is None else self.skip(active)
            out: torch.Tensor = self.conv2(self.activation(self.norm2(self.conv1(active))))
        else:
            skipped = x if self.skip is None else self.skip(x)
            out = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        if self.se is not None:
            out = self.se(out)
        out = out + skipped
        if not self.preactivation:
            out = self.activation(out)
        if self.dropout is not None:
            out = self.dropout(out)
        return out
