"""torch.compile once per architecture; the code is kept for later runs, processes and machines.

Learning rates, seeds and schedules are no part of the compiled code. Within a process the second
run of an architecture reuses the first one's network, with its own weights copied in place. Other
processes find the code in `Machine.cache`, other machines as one portable file there, named by a
digest of everything the code depends on. These files contain code: accept them from nobody else.
"""

from __future__ import annotations

import atexit
import functools
import gc
import hashlib
import importlib.metadata
import platform
import shutil
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from engine import atomic, files
from engine.errors import UserError
from engine.step.device import Machine, keep_code_in

Network = TypeVar("Network", bound=nn.Module)
Forward = Callable[[Tensor], Tensor]

ENDING = ".artifact"
MOST_NETWORKS = 1024  # dynamo's own limits are for recompilations of one function
SOURCES = ("model", "step")  # packages whose code decides what is compiled


@dataclass
class _Kept:
    network: nn.Module
    user: weakref.ref[Any]
    forward: Forward | None = None


_kept: dict[Hashable, _Kept] = {}
_loaded: set[Path] = set()


def reused(fresh: Network, architecture: Hashable, machine: Machine, user: object) -> Network:
    """The network for `user` to train: `fresh`, or an already compiled one with its weights.

    `architecture` is everything that the code depends on. A network is reused after its last user
    is gone, so that two runs never share weights.
    """
    if not machine.compile:
        return fresh
    key = (architecture, machine.device, machine.precision, machine.channels_last, machine.savings)
    known = _kept.get(key)
    if known is not None and known.user() is not None:
        gc.collect()  # it may only be alive in a reference cycle
    if known is None or known.user() is not None:
        _kept.setdefault(key, _Kept(fresh, weakref.ref(user)))
        return fresh
    known.user = weakref.ref(user)
    network = known.network
    network.load_state_dict(fresh.state_dict())
    network.zero_grad(set_to_none=True)
    network.train(fresh.training)
    return network  # type: ignore[return-value]


def forward(network: nn.Module, machine: Machine) -> Forward:
    """The function that computes the logits: `network`, compiled if `machine.compile`."""
    if not machine.compile:
        return network
    known = next((kept for kept in _kept.values() if kept.network is network), None)
    if known is not None and known.forward is not None:
        return known.forward
    keep_code_in(machine.cache or _temporary_folder())
    torch._dynamo.config.recompile_limit = MOST_NETWORKS
    torch._dynamo.config.accumulated_recompile_limit = MOST_NETWORKS
    if machine.device.type == "cuda":
        from torch._inductor import config  # slow to import

        config.coordinate_descent_tuning = machine.savings.coordinate_descent
        config.triton.cudagraphs = False  # which an environment variable allows: the step is one
    compiled: Forward = torch.compile(network, dynamic=False)
    if machine.cache is not None:
        path = machine.cache / f"{_name(network, machine)}{ENDING}"
        load(path)
        compiled = _saving(compiled, network, path)
    if known is not None:
        known.forward = compiled
    return compiled


def load(path: Path) -> bool:
    """Load what another process or machine compiled; a damaged file is deleted."""
    if path in _loaded or not path.exists():
        return path in _loaded
    try:
        content = files.read_bytes(path, files.LARGEST_TENSORS)
        digest, artifacts = content[:32], content[32:]
        if hashlib.sha256(artifacts).digest() != digest:
            raise ValueError("its digest does not match")
        if torch.compiler.load_cache_artifacts(artifacts) is None:
            raise ValueError("torch cannot read it")
    except Exception as error:  # of any kind: this is only a cache
        print(f"warning: {path}: deleted, compiling again ({error})", file=sys.stderr)
        path.unlink(missing_ok=True)
        return False
    _loaded.add(path)
    return True


def save(path: Path) -> None:
    """Write everything that this process compiled to one file; a failure only costs time."""
    artifacts = torch.compiler.save_cache_artifacts()
    if artifacts is None:
        return
    try:
        atomic.write_bytes(path, hashlib.sha256(artifacts[0]).digest() + artifacts[0])
    except (OSError, UserError) as error:  # a full disk, another process that writes it
        print(f"warning: {path}: not saved ({error})", file=sys.stderr)


def _saving(compiled: Forward, network: nn.Module, path: Path) -> Forward:
    """`compiled`, saved at the second call in a stage, when forward and backward are compiled."""
    saved, calls = _misses(), Counter[Hashable]()

    def call(images: Tensor) -> Tensor:
        nonlocal saved
        frozen = [getattr(network, f"frozen_{part}", 0) for part in ("layers", "stem")]
        stage = images.shape, network.training, *frozen
        calls[stage] += 1
        if calls[stage] == 2 and (now := _misses()) > saved:
            saved = now
            save(path)
        return compiled(images)

    return call


def _misses() -> int:
    """Number of compilations in this process."""
    return int(torch._dynamo.utils.counters["inductor"]["fxgraph_cache_miss"])


@functools.cache
def _temporary_folder() -> Path:
    """A folder that is deleted at the end of the process."""
    folder = Path(tempfile.mkdtemp(prefix="engine-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _name(network: nn.Module, machine: Machine) -> str:
    """A digest of everything that the compiled code depends on."""
    parts = (
        torch.__version__,
        _version_of("triton"),
        platform.python_version(),
        machine.name(),
        torch.backends.cpu.get_cpu_capability(),
        machine.precision,
        str(machine.channels_last),
        str(machine.savings),
        _sources(),
        str(network),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@functools.cache
def _sources() -> str:
    engine = Path(__file__).resolve().parent.parent
    files = [file for room in SOURCES for file in sorted((engine / room).glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
