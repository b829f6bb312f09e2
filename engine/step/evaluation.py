"""Evaluation: every image once, without augmentation, in the running averages of training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.data.loader import Loader
from engine.step.device import Machine
from engine.step.totals import Means, Totals, loss_of


def evaluate(network: nn.Module, loader: Loader, machine: Machine) -> Means:
    """Loss and accuracy over all images of `loader`."""
    totals = Totals(machine.device)
    for logits, labels in outputs(network, loader, machine):
        totals.add(loss_of(logits, labels), logits, labels)
    return totals.read()


@torch.no_grad()
def outputs(network: nn.Module, loader: Loader, machine: Machine) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels, batch by batch, in the order of the file."""
    network.eval()
    for images, labels in loader.epoch(0):
        with machine.autocast():
            logits = network(images)
        yield logits.float(), labels
