"""What the driver says of a GPU: its name, clocks, power and temperature at a moment."""

from __future__ import annotations

import csv
import importlib.metadata
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import torch

ALWAYS = ("name", "driver_version", "pstate", "memory.total", "memory.used", "temperature.gpu")
CLOCKS = ("clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit")
MODES = ("compute_mode", "persistence_mode", "ecc.mode.current", "mig.mode.current")
REASONS = ("clocks_event_reasons.active",)
OLDER = ("clocks_throttle_reasons.active",)  # as drivers before 535 call it
SECONDS = 20.0


def state(device: str) -> dict[str, str]:
    """What nvidia-smi says now; empty on a CPU, and without what the driver does not know."""
    if not device.startswith("cuda"):
        return {}
    index = device.partition(":")[2] or "0"
    known: dict[str, str] = {}
    for keys in (ALWAYS, CLOCKS, MODES, REASONS, OLDER):
        known |= _query(index, keys)
    return known


def software(device: str) -> dict[str, Any]:
    """The versions of CUDA's libraries, and what Triton compiles its launchers with."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    facts: dict[str, Any] = {
        "C compiler": next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None),
        "Python.h": header.exists(),
        "torch CUDA": torch.version.cuda,
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "cuDNN": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "triton": importlib.metadata.version("triton"),
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "second-level cache, MB": properties.L2_cache_size / 1e6,
        }
    return facts


def _query(index: str, keys: tuple[str, ...]) -> dict[str, str]:
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(keys)}", "--format=csv"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rows = list(csv.reader(done.stdout.splitlines(), skipinitialspace=True))
    return dict(zip(keys, rows[1], strict=False)) if done.returncode == 0 and len(rows) > 1 else {}
