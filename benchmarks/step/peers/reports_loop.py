"""Whole epochs of the reports' loop: torchvision's transforms, a DataLoader, an evaluation each.

The pixels come from memory as PIL images: neither the disk nor unpickling is timed.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.measuring.data import MEAN, PADDING, STD, InMemory
from benchmarks.measuring.results import Unavailable
from benchmarks.step.peers import Workload, usual_switches, wait
from benchmarks.step.peers.plain_loop import make_step, network_of, sgd
from engine.data.beton import open_beton

WORKERS, TEST_BATCH = 2, 100  # of report 004
TEST_STRIDE = 5  # every fifth image is evaluated: 10,000 of 50,000, as in CIFAR-10


def epochs(workload: Workload, count: int, workers: int = WORKERS) -> list[float]:
    """Seconds of each of `count` epochs, training and evaluation together."""
    loader, tester = _loaders(workload, workers)
    device = torch.device(workload.device)
    usual_switches(workload.threads)
    network = network_of(workload).to(device)
    optimizer = sgd(network)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=workload.epochs)
    seconds = []
    with warnings.catch_warnings():
        # Python 3.12 and later warn when a process with threads forks; the workers use no threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        for _ in range(count):
            began = time.perf_counter()
            network.train()
            for images, labels in loader:
                make_step(network, optimizer, images.to(device), labels.to(device))
            _accuracy(network, tester, device)
            schedule.step()
            wait(device)
            seconds.append(time.perf_counter() - began)
    return seconds


@torch.no_grad()
def _accuracy(network: nn.Module, tester: DataLoader[Any], device: torch.device) -> float:
    network.eval()
    correct = total = 0
    for images, labels in tester:
        correct += int((network(images.to(device)).argmax(1) == labels.to(device)).sum().item())
        total += len(labels)
    return correct / total


def _loaders(workload: Workload, workers: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError) as error:  # RuntimeError: made for another torch
        raise Unavailable(f"torchvision: {error}") from None
    beton = open_beton(workload.path, verify=False)
    plain = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augment = [
        transforms.RandomCrop(beton.height, padding=PADDING),
        transforms.RandomHorizontalFlip(),
    ]
    pictures, labels = [Image.fromarray(image) for image in beton.images()], beton.labels.tolist()
    training = InMemory(pictures, labels, transforms.Compose([*augment, *plain]))
    some = slice(None, None, TEST_STRIDE)
    testing = InMemory(pictures[some], labels[some], transforms.Compose(plain))
    return (
        DataLoader(training, workload.batch_size, shuffle=True, num_workers=workers),
        DataLoader(testing, TEST_BATCH, num_workers=workers),
    )
