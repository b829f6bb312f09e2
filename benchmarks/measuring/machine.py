"""The conditions of a measurement: processor, software, load, threads, memory of a process."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def set_threads(count: int) -> None:
    """Set the threads of torch and of Numba for calls from this thread."""
    import numba  # not at the top: a fresh process times this import

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    numba.set_num_threads(count)


def load() -> float:
    """The load average of the last minute, this process included."""
    return round(os.getloadavg()[0], 2)


def describe(device: str) -> dict[str, Any]:
    """What a figure depends on besides the code."""
    from engine.runs.environment import versions
    from engine.step.device import cpu_facts

    description = {
        "cpu": cpu_facts()[0],
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "governor": _text(GOVERNOR),
        "transparent_huge_pages": _text(HUGE_PAGES),
        "platform": platform.platform(),
        "versions": versions(),
    }
    if device != "cpu":
        description["gpu"] = torch.cuda.get_device_name(device)
        description["cuda"] = torch.version.cuda
    return description


def peak_memory() -> int:
    """This process's peak resident memory in bytes (VmHWM)."""
    return _status("VmHWM")


def memory() -> int:
    """This process's resident memory in bytes, mapped files included (VmRSS)."""
    return _status("VmRSS")


def threads() -> int:
    """The number of threads of this process."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    """The number of open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
