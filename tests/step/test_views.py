"""Test-time augmentation beside a slow writing of it, image by image and view by view."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.model import ResNet, Variant
from engine.step.device import Machine
from engine.step.graph import logits_of
from engine.step.views import logits_of_views

SIDE = 8
SHIFTS = {"none": [], "flip": [(0, 0, 1.0)], "six": [(0, 0, 0.5), (-1, -1, 0.25), (1, 1, 0.25)]}


def _pixel(at: int) -> int:
    """The place that an edge reflects to, itself not repeated."""
    at = abs(at)
    return at if at < SIDE else 2 * (SIDE - 1) - at


def _view(image: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    view = torch.empty_like(image)
    for row in range(SIDE):
        for column in range(SIDE):
            x = SIDE - 1 - column if mirrored else column
            view[:, row, column] = image[:, _pixel(row + down), _pixel(x + right)]
    return view


def _slow(network: nn.Module, image: Tensor, machine: Machine, tta: str) -> Tensor:
    if tta == "none":
        return logits_of(network, image[None], machine)[0]
    total = torch.zeros(())
    for down, right, weight in SHIFTS[tta]:
        for mirrored in (False, True):
            view = _view(image, down, right, mirrored)[None]
            total = total + weight / 2 * logits_of(network, view, machine)[0]
    return total


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tta", SHIFTS)
@torch.no_grad()
def test_views_are_averaged_as_written_out(tta: str, precision: str, channels_last: bool) -> None:
    torch.manual_seed(0)
    machine = Machine(torch.device("cpu"), precision, compile=False, channels_last=channels_last)
    network = ResNet(Variant(blocks=(1,), widths=(4,)), 10, side=SIDE).eval()
    images = torch.randn(3, 3, SIDE, SIDE)
    if precision == "bf16":
        images = images.bfloat16()
    logits = logits_of_views(network, images, machine, tta)
    assert logits.dtype == torch.float32
    expected = torch.stack([_slow(network, image, machine, tta) for image in images])
    within = {"rtol": 1e-5, "atol": 1e-6} if precision == "fp32" else {"rtol": 0.02, "atol": 0.01}
    torch.testing.assert_close(logits, expected, **within)
    views = {"none": 1, "flip": 2, "six": 6}[tta]
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    logits_of_views(network, images, machine, tta)
    assert len(calls) == views
