"""The machine and the versions that a run used."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Any

import torch

import engine
from engine.step.device import Machine

PACKAGES = ("torch", "torchvision", "ffcv", "numba", "numpy", "fastargs", "safetensors")


def versions() -> dict[str, str]:
    """The versions of everything that can change a result."""
    versions = {"engine": engine.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe(machine: Machine) -> dict[str, Any]:
    """The machine and its software, as plain JSON."""
    cuda = machine.device.type == "cuda"
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "device": machine.name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
    }
