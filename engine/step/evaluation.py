"""Evaluation: every image once, without augmentation, with the running averages of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from engine.data.loader import Loader
from engine.step.device import Machine
from engine.step.totals import Means, Totals, loss_of


class Stoppable(Protocol):
    """What may ask an evaluation to end early."""

    requested: bool


def evaluate(
    network: nn.Module, loader: Loader, machine: Machine, stop: Stoppable | None = None
) -> Means | None:
    """Loss and accuracy over all images of `loader`; None where it was stopped before the end."""
    totals = Totals(machine.device)
    for logits, labels in outputs(network, loader, machine):
        if stop is not None and stop.requested:
            return None
        totals.add(loss_of(logits, labels), logits, labels)
    return totals.read()


@torch.no_grad()
def outputs(
    network: nn.Module, loader: Loader, machine: Machine
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels, batch by batch, in the order of the file."""
    network.eval()
    for images, labels in loader.epoch(0):
        with machine.autocast():
            logits = network(images)
        yield logits.float(), labels
