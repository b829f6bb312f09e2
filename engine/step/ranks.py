"""The processes of one run, as torchrun starts them: each has a part of every batch.

A rank is one of them, with a device of its own. `Alone` is the usual run of one process, which
imports nothing and computes as if there were no ranks. The ranks of a `Group` add up on their
devices (NCCL on GPUs, gloo on CPUs) and agree on their hosts (gloo).

However a rank ends, all end alike: one that cannot go on leaves its exit code in the store that
all share and closes its connections, at which the others look there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from engine.errors import FAILED, SYSTEM_ERRORS, USER_ERROR, RunFailed, UserError, leave
from engine.model import norm

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ENDED, LEFT = "engine.ended", "engine.left"  # in the store
EVERY = 32  # steps between agreements of GPUs' hosts, which run ahead of their devices
PATIENCE = 1.0  # seconds for the exit code of another rank
LAST = 10.0  # seconds that the rank with the store waits for the others to read it


class Ranks(norm.Ranks, Protocol):
    """What a run needs of its processes."""

    @property
    def number(self) -> int:
        """Of this process, from 0."""

    @property
    def local(self) -> tuple[int, int]:
        """The number of this process among those of its machine, and how many these are."""

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank; all call it, and wait for each other."""

    def any_at(self, step: int, flag: bool) -> bool:
        """As `any`, at the steps of a run: late by some steps where waiting would cost time."""

    def tell(self, content: bytes) -> bytes:
        """The `content` of rank 0, on all."""


class Alone:
    """The one process of a usual run."""

    number, count, local = 0, 1, (0, 1)

    def gather(self, values: Tensor) -> Tensor:
        """The values."""
        return values[None]

    def sum_(self, values: Tensor) -> None:
        """Nothing to add."""

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def any_at(self, step: int, flag: bool) -> bool:
        """The flag."""
        return flag

    def tell(self, content: bytes) -> bytes:
        """The content."""
        return content


ALONE = Alone()


class Group:
    """The ranks that torchrun started, connected through its store."""

    def __init__(self, *, every: int = 1) -> None:
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        self.number, self.count = (int(os.environ[name]) for name in VARIABLES[:2])
        self.local = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self._dist, self._every = dist, every
        self._store, *_ = next(rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=self._store, rank=self.number, world_size=self.count)

    def gather(self, values: Tensor) -> Tensor:
        """The values of each rank; a compiled network may call it."""
        out = values.new_empty((self.count * values.shape[0], *values.shape[1:]))
        self._dist.all_gather_into_tensor(out, values)
        return out.view(self.count, *values.shape)

    def sum_(self, values: Tensor) -> None:
        """Replace `values` by their sum, in the order of the device's work."""
        self._dist.all_reduce(values)

    def any(self, flag: bool) -> bool:
        """Whether it is set anywhere."""
        flags = torch.tensor([int(flag)])
        self._dist.all_reduce(flags)
        return bool(flags.item())

    def any_at(self, step: int, flag: bool) -> bool:
        """`any`, every so many steps."""
        return step % self._every == 0 and self.any(flag)

    def tell(self, content: bytes) -> bytes:
        """What rank 0 passes here."""
        size = torch.tensor([len(content)])
        self._dist.broadcast(size, 0)
        data = torch.empty(int(size.item()), dtype=torch.uint8)
        if self.number == 0 and content:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if len(data):
            self._dist.broadcast(data, 0)
        return data.numpy().tobytes()

    def end(self, code: int) -> bool:
        """Have all ranks end with `code`; false where rank 0 is ending by itself."""
        speaks = self.number == 0 or self.ended() is None
        if speaks:
            self._store.set(ENDED, str(code))
        self.leave()
        return speaks

    def ended(self) -> int | None:
        """The exit code that another rank has left, if any."""
        with contextlib.suppress(RuntimeError):  # the store is gone with rank 0
            if _within(PATIENCE, lambda: self._store.check([ENDED])):
                return int(self._store.get(ENDED))
        return None

    def leave(self) -> None:
        """Close the connections; the rank that has the store stays until all have read it."""
        gc.collect()  # recorded graphs hold communicators, which would be waited for
        with contextlib.suppress(RuntimeError):
            self._dist.destroy_process_group()
        with contextlib.suppress(RuntimeError):
            self._store.add(LEFT, 1)
            if self.number == 0:
                _within(LAST, lambda: self._store.add(LEFT, 0) >= self.count)


def summed(
    parameters: list[nn.Parameter], loss: Tensor, correct: Tensor, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Loss and right answers of all ranks, added up at once with the gradients, which they replace.

    They lie in one tensor: one operation is faster than one per parameter.
    """
    used = [(p, p.grad) for p in parameters if p.grad is not None]
    sizes = [gradient.numel() for _, gradient in used]
    flat = loss.new_empty(sum(sizes) + 2)
    parts = [
        part.as_strided(gradient.shape, gradient.stride())  # in its own memory format
        for part, (_, gradient) in zip(torch.split(flat, [*sizes, 2]), used, strict=False)
    ]
    torch._foreach_copy_(parts, [gradient for _, gradient in used])
    flat[-2:].copy_(torch.stack((loss, correct.to(loss.dtype))))
    ranks.sum_(flat)
    for (parameter, _), part in zip(used, parts, strict=True):
        parameter.grad = part
    return flat[-2], flat[-1].to(correct.dtype)


def started() -> bool:
    """Whether torchrun started this process as one of several."""
    return all(os.environ.get(name) for name in VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def together(work: Callable[[Ranks], int], *, on_cpu: bool) -> int:
    """Call `work` with the ranks of this process; all end with the same exit code.

    Errors that would come again on a restart (the user's, a failed run's) end all ranks with their
    code, printed by one of them. Any other ends this rank and breaks the others' connections; to
    start again is torchrun's part.
    """
    if not started():
        return work(ALONE)
    group = Group(every=1 if on_cpu else EVERY)
    try:
        code = work(group)
    except (UserError, RunFailed, OSError) as error:
        if isinstance(error, OSError) and error.errno not in SYSTEM_ERRORS:
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the network and its graphs
        code = FAILED if isinstance(error, RunFailed) else USER_ERROR
        if group.end(code):
            raise
        return code
    except RuntimeError as error:
        others = group.ended()
        if others is None and not _connection(error):
            raise
        if others is None:
            what = str(error).splitlines()[0]
            print(f"error: rank {group.number} lost another rank ({what})", file=sys.stderr)
            leave(FAILED)  # at once: a GPU may still wait for the lost one
        traceback.clear_frames(error.__traceback__)
        group.leave()
        return others
    group.leave()
    return code


def _connection(error: RuntimeError) -> bool:
    words = ("connection", "broken pipe", "timed out", "nccl", "gloo")
    return any(word in str(error).lower() for word in words)


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not (result := done()) and time.monotonic() < until:
        time.sleep(0.02)
    return result
