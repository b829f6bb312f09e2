"""The loss with smoothed and mixed labels equals the cross-entropy of written-out targets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.optim.schedules import Rates
from engine.step.device import Machine
from engine.step.totals import Mix, loss_of
from engine.step.training import TrainingStep

N, CLASSES = 12, 10


def _targets(labels: Tensor, smoothing: float) -> Tensor:
    """The distribution over the classes that each image is trained towards."""
    targets = torch.full((N, CLASSES), smoothing / CLASSES, dtype=torch.float64)
    for row, label in enumerate(labels):
        targets[row, label] += 1 - smoothing
    return targets


def _draw() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    logits = torch.randn(N, CLASSES, generator=random, dtype=torch.float64)
    first, second = (torch.randint(0, CLASSES, (N,), generator=random) for _ in range(2))
    return logits, first, second


def _written_out(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shares", [None, 0.0, 0.3, 1.0, "each"])
def test_the_loss_is_the_cross_entropy_of_the_targets(
    smoothing: float, shares: float | str | None
) -> None:
    logits, first, second = _draw()
    mix, targets = None, _targets(first, smoothing)
    if shares is not None:
        share = torch.linspace(0, 1, N) if isinstance(shares, str) else torch.tensor(shares)
        mix = Mix(second, share)
        column = share.double().expand(N)[:, None]
        targets = column * targets + (1 - column) * _targets(second, smoothing)
    result = loss_of(logits, first, smoothing, mix)
    torch.testing.assert_close(result, _written_out(logits, targets), rtol=1e-12, atol=0)


def test_without_smoothing_the_loss_has_the_bits_of_torchs() -> None:
    logits, labels, _ = _draw()
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(
            loss_of(logits.to(dtype), labels), cross_entropy(logits.to(dtype), labels)
        )
    assert loss_of(logits.bfloat16(), labels).dtype == torch.float32


def test_a_smoothed_step_trains_on_and_sums_the_smoothed_loss() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, CLASSES)).double()
    start = network[1].weight.detach().clone()
    images, (_, labels, _) = torch.randn(N, 3, 2, 2, dtype=torch.float64), _draw()
    weight = start.clone().requires_grad_()
    logits = images.flatten(1) @ weight.T + network[1].bias.detach()
    loss = _written_out(logits, _targets(labels, 0.2))
    loss.backward()
    step = TrainingStep(
        network,
        Optim(momentum=0.0, weight_decay=0.0),
        Machine(torch.device("cpu"), "fp32", False),
        smoothing=0.2,
    )
    step(Batch(images, labels), Rates(0.1, 0.0), 0)
    assert step.totals.read().loss == pytest.approx(loss.item())
    assert weight.grad is not None
    torch.testing.assert_close(network[1].weight.detach(), start - 0.1 * weight.grad)
