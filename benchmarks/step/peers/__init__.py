"""The training steps that are compared, each as a `Trainer`; one small file for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-4  # of the reports, the same for all
READY = 2048  # images that the peers find normalised in memory, in their own layout


@dataclass(frozen=True)
class Workload:
    """What is trained on what; the same for all that are compared."""

    variant: str
    batch_size: int
    path: Path  # a .beton file
    device: str  # cpu, cuda, cuda:N
    threads: int
    epochs: int = 200  # of the run that these steps belong to: `auto` may depend on them


class Trainer(Protocol):
    """Something that makes training steps."""

    name: str
    device: torch.device
    warm_up: int  # steps after which all take the same time

    @property
    def setting(self) -> str:
        """Its setting, without which a rate means nothing."""

    def step(self) -> int:
        """Make a step; how many images it had. It need not wait for a GPU."""

    def close(self) -> None:
        """Free memory."""


def usual_switches(threads: int) -> None:
    """Set torch's defaults with cuDNN's autotuning, which both kinds of loops turn on.

    The engine sets its own, so no two trainers take turns in one process.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False


def wait(device: torch.device) -> None:
    """Return when the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
