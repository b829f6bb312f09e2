"""A plain PyTorch loop as the reports wrote it: float32, NCHW, eager, the loss read every step.

It finds its images normalised in memory and does not augment them, as ours does in every step;
`reports_loop` has the reports' whole loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measuring.data import MEAN, STD
from benchmarks.step.peers import LR, MOMENTUM, READY, WEIGHT_DECAY, Workload, usual_switches
from engine.data.beton import open_beton
from engine.model import VARIANTS, ResNet


class Plain:
    """The reports' step."""

    name = "plain PyTorch"

    def __init__(
        self,
        workload: Workload,
        dtype: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.device = torch.device(workload.device)
        self.warm_up = 2 if self.device.type == "cpu" else 8  # until cuDNN has chosen its kernels
        usual_switches(workload.threads)
        kind = str(dtype).removeprefix("torch.")
        order = "channels_last" if layout == torch.channels_last else "NCHW"
        self.setting = f"{kind}, {order}, eager, SGD, images ready in memory"
        network: Any = network_of(workload)
        self._network = network.to(self.device, memory_format=layout)
        self._optimizer = sgd(self._network)
        self._batches = ready_batches(workload, self.device, dtype, layout)
        self.correct, self.loss = 0, 0.0

    def step(self) -> int:
        """Forward, backward, update, and the running loss and accuracy that the reports print."""
        images, labels = next(self._batches)
        loss, correct = make_step(self._network, self._optimizer, images, labels)
        self.loss += loss
        self.correct += correct
        return len(labels)

    def close(self) -> None:
        """Free the network and the images."""
        del self._network, self._optimizer, self._batches
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def make_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> tuple[float, int]:
    """One step as the reports wrote it; its loss and its correct answers, read from the GPU."""
    optimizer.zero_grad()
    logits = network(images)
    loss = cross_entropy(logits, labels)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.item(), int((logits.argmax(1) == labels).sum().item())


def network_of(workload: Workload) -> ResNet:
    """The network in torch's default layout and type."""
    beton = open_beton(workload.path, verify=False)
    return ResNet(VARIANTS[workload.variant], beton.classes, side=beton.height)


def sgd(network: nn.Module) -> torch.optim.SGD:
    """SGD in torch's default implementation."""
    return torch.optim.SGD(network.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)


def ready_batches(
    workload: Workload, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one size without end: slices of normalised images, which cost nothing."""
    beton = open_beton(workload.path, verify=False)
    size = workload.batch_size
    count = max(READY // size, 1) * size
    ids = np.arange(count) % len(beton)
    pixels = torch.from_numpy(beton.images()[ids])
    labels = torch.from_numpy(beton.labels[ids]).to(device)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
    images = images.to(device, dtype).contiguous(memory_format=layout)
    while True:
        for first in range(0, count, size):
            yield images[first : first + size], labels[first : first + size]
