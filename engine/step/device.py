"""The device, its precision and its threads, selected once at the start."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.config.schema import Config, Runtime
from engine.data.augment import gpu
from engine.errors import UserError
from engine.step import bf16_probe, memory
from engine.step.ranks import ALONE, Ranks

# cuBLAS chooses its kernels by the size of its workspace, which lasts as long as the process: it
# must not depend on whether the run before was exact. A user's own value stays.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

PRECISIONS = ("fp32", "bf16", "fp16")
CPU_BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86, Arm


@dataclass(frozen=True)
class Savings:
    """What saves time on a GPU, as the settings of the same names say; on a CPU there is none."""

    coordinate_descent: bool = False
    compile_evaluation: bool = False
    stem_channels: int = 0
    loss_kernel: bool = False
    count_together: bool = False
    copy_at_once: bool = False


NO_SAVINGS = Savings()


@dataclass(frozen=True)
class Machine:
    """The device of a run and how the network computes on it."""

    device: torch.device
    precision: str  # fp32, bf16, fp16
    compile: bool
    graph: bool = False
    channels_last: bool = True
    cache: Path | None = None  # folder of compiled code; None: none is kept
    savings: Savings = NO_SAVINGS

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision within the block; weights stay float32.

        Each is used once, so that a cache of their casts would only hold memory; and a graph must
        not be recorded with one.
        """
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype, cache_enabled=False)

    def wait(self) -> None:
        """Wait until the device has finished all queued work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def name(self) -> str:
        """The model of the processor, for records."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return cpu_facts()[0]


def cache_folder(config: Config) -> Path:
    """Where compiled code and measurements are kept: `runtime.cache`, or beside the runs."""
    return Path(config.runtime.cache or Path(config.run.root) / ".cache")


def prepare(runtime: Runtime, cache: Path | None = None, ranks: Ranks = ALONE) -> Machine:
    """Select the device and set torch's global switches, once per process.

    Without a `cache` folder no compiled code or measurement is kept. Ranks of one machine share its
    cores, and compute in the precision of the first.
    """
    device = select(runtime, ranks)
    _set_threads(runtime, device, ranks)
    _set_switches(runtime)
    if cache is not None:
        keep_code_in(cache)
    if device.type == "cpu":
        memory.keep()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        gpu.prepare()
    precision = ranks.tell(precision_of(runtime, device, cache).encode()).decode()
    compiled = _compile(runtime, device)
    return Machine(
        device,
        precision,
        compiled,
        _graph(runtime, device),
        runtime.channels_last,
        cache,
        _savings(runtime, compiled) if device.type == "cuda" else NO_SAVINGS,
    )


def keep_code_in(folder: Path) -> None:
    """Have torch and Triton keep compiled code in `folder`; both read it at each compilation."""
    for variable, name in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        os.environ[variable] = str(folder.resolve() / name)


def has_bf16_units(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 units."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return not cpu_facts()[1].isdisjoint(CPU_BF16_UNITS)


def select(runtime: Runtime, ranks: Ranks = ALONE) -> torch.device:
    """The device that `runtime` names; one that does not exist is refused.

    Each rank of a machine has a GPU of its own.
    """
    wanted = runtime.device
    if ranks.count > 1:
        wanted = _of_rank(wanted, ranks)
    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if not wanted.startswith("cuda"):
        return torch.device(wanted)
    if not torch.cuda.is_available():
        raise UserError(f"runtime.device {wanted}: torch sees no GPU here; use auto or cpu")
    device = torch.device("cuda", int(wanted.partition(":")[2] or 0))
    if (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"runtime.device {wanted}: this machine has cuda:0 to cuda:{count - 1}")
    return device


def is_cpu(runtime: Runtime) -> bool:
    """Whether `runtime` names the CPU, or `auto` takes it here."""
    return runtime.device == "cpu" or not torch.cuda.is_available()


def _of_rank(wanted: str, ranks: Ranks) -> str:
    """The device of a rank where all together should have `wanted`."""
    number, count = ranks.local
    if not wanted.startswith("cuda") and not torch.cuda.is_available():
        return wanted
    if wanted == "cpu":
        return wanted
    if ":" in wanted:
        raise UserError(
            f"runtime.device {wanted}: the {count} ranks of a machine have a GPU each; use auto"
        )
    gpus = torch.cuda.device_count()
    if gpus and count > gpus:
        raise UserError(f"{count} ranks of a machine with {gpus} GPUs: start one per GPU")
    return f"cuda:{number}"


def precision_of(runtime: Runtime, device: torch.device, cache: Path | None) -> str:
    """The precision of a run on `device`, with `auto` decided."""
    if runtime.precision != "auto":
        return runtime.precision
    if not has_bf16_units(device):
        return "fp32"
    if (
        device.type == "cuda" or runtime.exact
    ):  # the bits of an exact run must not depend on a timing
        return "bf16"
    return "bf16" if bf16_probe.bf16_is_faster(cpu_facts()[0], cache) else "fp32"


def _compile(runtime: Runtime, device: torch.device) -> bool:
    if runtime.compile is True and device.type == "cpu" and not _has_compiler():
        raise UserError(
            "runtime.compile true: needs a C++ compiler on a CPU, and none of CXX, g++ and clang++ "
            "is installed; use auto"
        )
    if isinstance(runtime.compile, bool):
        return runtime.compile
    return device.type == "cuda"  # on a CPU it costs more than it saves: docs/performance.md


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)


def _graph(runtime: Runtime, device: torch.device) -> bool:
    if runtime.graph is True and device.type != "cuda":
        raise UserError(f"runtime.graph true: a {device.type} has no CUDA graphs; use auto")
    return runtime.graph is not False and device.type == "cuda"


def _savings(runtime: Runtime, compiled: bool) -> Savings:
    return Savings(
        runtime.coordinate_descent,
        runtime.compile_evaluation and compiled,
        runtime.stem_channels if compiled else 0,
        runtime.loss_kernel,
        runtime.count_together,
        runtime.copy_at_once,
    )


def _set_threads(runtime: Runtime, device: torch.device, ranks: Ranks) -> None:
    cores = len(os.sched_getaffinity(0))
    threads = runtime.threads or max(1, cores // ranks.local[1])
    if threads > cores:
        print(
            f"warning: runtime.threads {threads}: there are {cores} cores here; threads that wait "
            "for each other make steps slower, many of them without end",
            file=sys.stderr,
        )
    if runtime.exact and device.type == "cpu":
        threads = 1  # the order of the sums in a weight gradient follows the threads
    torch.set_num_threads(threads)


def _set_switches(runtime: Runtime) -> None:
    torch.use_deterministic_algorithms(runtime.exact)
    torch.backends.cudnn.benchmark = runtime.autotune and not runtime.exact
    if torch.backends.cudnn.is_available():  # type: ignore[no-untyped-call]
        torch.backends.cudnn.benchmark_limit = runtime.autotune_limit
    torch.backends.cuda.matmul.allow_tf32 = runtime.tf32
    torch.backends.cudnn.allow_tf32 = runtime.tf32  # torch's own default is true


@functools.cache
def cpu_facts() -> tuple[str, frozenset[str]]:
    """The CPU's name and feature flags, where the system reports them."""
    name, flags = platform.machine() or "unknown CPU", frozenset[str]()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name, flags
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip().lower() in ("flags", "features"):
            flags = frozenset(value.split())
    return name, flags
