"""Clipping and dropout equal a plain loop in torch over 120 steps, eager and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.model import ResNet, Variant
from engine.optim.schedules import Rates
from engine.step.device import Machine
from engine.step.training import TrainingStep
from tests.support import steps

STEPS = 120
BATCH = 8
MACHINE = Machine(torch.device("cpu"), "fp32", False)
RATES = Rates(0.05, 0.9)


def _batches(side: int = 8) -> Iterator[Batch]:
    random = torch.Generator().manual_seed(11)
    for _ in range(STEPS):
        images = torch.randn(BATCH, 3, side, side, generator=random, dtype=torch.float64)
        yield Batch(images, torch.randint(0, 10, (BATCH,), generator=random))


def _seed(number: int) -> None:
    torch.manual_seed(number)


def _eager(step: TrainingStep) -> None:
    steps.eager(step, _batches(), RATES, before=_seed)


def _recorded(step: TrainingStep) -> None:
    recorder = steps.recorded(step, _batches(), RATES, before=_seed)
    assert recorder.graphs[0].replays > STEPS - 10


WAYS = pytest.mark.parametrize("way", [_eager, _recorded])


def _network(variant: Variant) -> ResNet:
    torch.manual_seed(0)
    return ResNet(variant, side=8).double()


@WAYS
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("by", "limit"), [("clip_value", 0.02), ("clip_norm", 0.1), ("clip_norm", 0.5), ("", 0.0)]
)
def test_clipped_steps_equal_a_plain_loop(
    name: str, by: str, limit: float, way: Callable[[TrainingStep], None]
) -> None:
    ours, plain = (_network(Variant((1,), (4,))) for _ in range(2))
    optim = replace(Optim(name, RATES.lr, RATES.momentum), **({by: limit} if by else {}))
    step = TrainingStep(ours, optim, MACHINE)
    way(step)
    optimizer = torch.optim.SGD(plain.parameters(), RATES.lr, 0.9, weight_decay=5e-4)
    if name == "adam":
        optimizer = torch.optim.Adam(plain.parameters(), RATES.lr, weight_decay=5e-4)
    clipped = 0
    for images, labels in _batches():
        optimizer.zero_grad()
        F.cross_entropy(plain(images), labels).backward()
        before = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
        clipped += bool(before.abs().max() > limit if by == "clip_value" else before.norm() > limit)
        if by == "clip_value":
            nn.utils.clip_grad_value_(plain.parameters(), limit)
        elif by == "clip_norm":
            nn.utils.clip_grad_norm_(plain.parameters(), limit)
        optimizer.step()
    assert clipped > STEPS // 20  # the limit had an effect
    assert step.first_bad_step() is None
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


class Textbook(nn.Module):
    """Two layers of one block each, with dropout where the reports have it."""

    def __init__(self, p: float, place: str) -> None:
        super().__init__()
        self.p, self.place = p, place
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.layers = nn.ModuleList(
            nn.ModuleList([self.block(before, width, stride)])
            for before, width, stride in ((16, 16, 1), (16, 32, 2))
        )
        self.classifier = nn.Linear(32, 10)

    def block(self, before: int, width: int, stride: int) -> nn.Module:
        parts = nn.Module()
        parts.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        parts.norm1 = nn.BatchNorm2d(width)
        parts.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        parts.norm2 = nn.BatchNorm2d(width)
        if stride == 2:
            parts.skip = nn.Sequential(
                nn.Conv2d(before, width, 1, 2, bias=False), nn.BatchNorm2d(width)
            )
        return parts

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem(images))
        for layer in self.layers:
            for block in layer:  # type: ignore[attr-defined]
                out = F.relu(block.norm1(block.conv1(x)))
                out = block.norm2(block.conv2(out))
                x = F.relu(out + (block.skip(x) if hasattr(block, "skip") else x))
                if self.place == "block":
                    x = F.dropout(x, self.p, self.training)
        flat = F.adaptive_avg_pool2d(x, 1).flatten(1)
        if self.place == "classifier":
            flat = F.dropout(flat, self.p, self.training)
        logits: Tensor = self.classifier(flat)
        return logits


@WAYS
@pytest.mark.parametrize("place", ["classifier", "block"])
def test_steps_with_dropout_equal_a_textbook_network(
    place: str, way: Callable[[TrainingStep], None]
) -> None:
    ours = _network(Variant((1, 1), (16,), dropout=0.3, dropout_place=place))
    plain = Textbook(0.3, place).double()
    plain.load_state_dict(ours.state_dict())
    step = TrainingStep(ours, Optim(lr=RATES.lr), MACHINE)
    way(step)
    optimizer = torch.optim.SGD(plain.parameters(), RATES.lr, 0.9, weight_decay=5e-4)
    for number, (images, labels) in enumerate(_batches()):
        torch.manual_seed(number)  # the same draws, if made in the same places
        optimizer.zero_grad()
        F.cross_entropy(plain(images), labels).backward()
        optimizer.step()
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-9)
