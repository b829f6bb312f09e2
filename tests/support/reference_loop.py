"""A plain training loop, with which the engine's accuracy is compared.

torchvision's data set and transforms, a DataLoader, an eager float32 network, torch's own
optimizer and scheduler. Slow on purpose; only the network is the engine's.

    python tests/support/reference_loop.py FOLDER SEED      # FOLDER holds cifar-10-batches-py
"""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from engine.model import VARIANTS, ResNet

# The per-channel constants of CIFAR-10's training images, as the quickstart uses them.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def train(folder: str, seed: int, epochs: int = 3, workers: int = 2) -> float:
    """The test accuracy of the quickstart's network and recipe after `epochs` epochs."""
    torch.manual_seed(seed)
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    training = datasets.CIFAR10(folder, True, transforms.Compose([*augment, *normalise]))
    testing = datasets.CIFAR10(folder, False, transforms.Compose(normalise))
    loader = DataLoader(training, 128, shuffle=True, num_workers=workers)
    network = ResNet(VARIANTS["resnet111_w16"])
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.5, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, epochs * len(loader))
    network.train()
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            schedule.step()
    return accuracy(network, testing)


@torch.no_grad()
def accuracy(network: nn.Module, testing: Dataset[tuple[torch.Tensor, int]]) -> float:
    """The share of correct predictions."""
    network.eval()
    right = 0
    for images, labels in DataLoader(testing, 500):
        right += int((network(images).argmax(1) == labels).sum())
    return right / len(testing)  # type: ignore[arg-type]


if __name__ == "__main__":
    print(f"{train(sys.argv[1], int(sys.argv[2])):.4f}")
