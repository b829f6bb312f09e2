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
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def set_threads(count: int) -> None:
    """Threads of torch and of Numba for what is called from this thread."""
    import numba  # not before: a fresh process must not find it loaded when its clock starts

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    numba.set_num_threads(count)


def load() -> float:
    """How many processes wanted to run in the last minute, ours among them."""
    return round(os.getloadavg()[0], 2)


def describe(device: str) -> dict[str, Any]:
    """What a figure depends on beside the code."""
    from engine.runs.environment import versions

    found = {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "governor": _text(GOVERNOR),
        "transparent_huge_pages": _text(HUGE_PAGES),
        "platform": platform.platform(),
        "versions": versions(),
    }
    if device != "cpu":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def peak_memory() -> int:
    """The most bytes that this process ever held in memory (VmHWM)."""
    return _status("VmHWM")


def memory() -> int:
    """The bytes that this process holds in memory now, mapped files among them (VmRSS)."""
    return _status("VmRSS")


def threads() -> int:
    """The kernel's threads of this process."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    """The open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
