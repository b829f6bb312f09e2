"""Sets larger than the device: one thread reads ahead into buffers that are handed to and fro.

A buffer belongs either to the reader or to a batch, never to both: it goes back only when the
batch was made of it and, on a GPU, when the device has said so. Reading, copying and computing
overlap; the copies run on a stream of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import torch
from torch import Tensor

from engine.data.beton import Beton
from engine.data.order import Ids
from engine.data.stores import Part, check
from engine.errors import UserError

AHEAD = 3  # batches; two would do but for the reader's own pauses
SECONDS_BETWEEN_LOOKS = 1.0  # at whether the reader still lives


class Stream:
    """A checked file, read a batch at a time; several epochs may be under way at once."""

    def __init__(self, beton: Beton, device: torch.device) -> None:
        check(beton)
        self.beton = beton
        self.device = device
        self.labels = torch.from_numpy(beton.labels).to(device)
        self._reader: _Reader | None = None
        self._buffers: SimpleQueue[_Buffer] = SimpleQueue()
        self._bytes = self._count = 0
        self._closed = False

    @property
    def memory_bytes(self) -> int:
        """The buffers so far, on the host and on the device, and the labels."""
        return self._bytes + self.labels.nbytes

    def parts(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[Part]:
        """Batches of consecutive ids, read ahead."""
        reader = self._begin()
        rows = torch.arange(min(batch_size, len(ids)), device=self.device)
        firsts = deque(range(0, len(ids), batch_size))
        under_way: deque[_Order] = deque()
        try:
            while firsts or under_way:
                while firsts and len(under_way) < AHEAD:
                    buffer = self._free_buffer(batch_size, needed=not under_way)
                    if buffer is None:  # another epoch has them; one is enough to go on
                        break
                    first = firsts.popleft()
                    under_way.append(reader.ask(buffer, ids[first : first + batch_size]))
                order = under_way.popleft()
                try:
                    images = reader.wait(order)
                except BaseException:
                    self._forget(order.buffer)  # it may still be written to
                    raise
                try:
                    yield Part(images, rows[: len(images)])
                finally:
                    self._take_back(order.buffer)
        finally:  # also where the epoch is left early
            for order in under_way:
                with contextlib.suppress(Exception):
                    reader.wait(order)
                    self._take_back(order.buffer)

    def close(self) -> None:
        """End the reader and let go of its buffers."""
        if self._reader is not None and self._reader.is_ours():
            self._reader.close()
        self._reader, self._buffers, self._closed = None, SimpleQueue(), True

    def _begin(self) -> _Reader:
        if self._closed:
            raise ValueError("this loader is closed")
        if self._reader is None or not self._reader.is_ours():  # threads do not survive a fork
            self._reader, self._buffers = _Reader(self.beton), SimpleQueue()
            self._bytes = self._count = 0
        return self._reader

    def _free_buffer(self, batch_size: int, *, needed: bool) -> _Buffer | None:
        """One that is large enough; a new one while there are few, or where it is `needed`."""
        while True:
            try:
                buffer = self._buffers.get_nowait()
            except Empty:
                break
            if len(buffer.host) >= batch_size:
                return buffer
            self._forget(buffer)
        if not needed and self._count >= AHEAD:
            return None
        buffer = self._new_buffer(batch_size)
        self._bytes += buffer.bytes
        self._count += 1
        return buffer

    def _new_buffer(self, batch_size: int) -> _Buffer:
        if self.device.type == "cpu":
            return _Buffer(self.beton, batch_size)
        return _PinnedBuffer(self.beton, batch_size, self.device)

    def _forget(self, buffer: _Buffer) -> None:
        self._bytes -= buffer.bytes
        self._count -= 1

    def _take_back(self, buffer: _Buffer) -> None:
        buffer.used()
        self._buffers.put(buffer)


class _Buffer:
    """Memory for one batch."""

    def __init__(self, beton: Beton, batch_size: int) -> None:
        shape = (batch_size, beton.height, beton.width, 3)
        self.host = torch.empty(shape, dtype=torch.uint8)
        self.bytes = self.host.nbytes
        self.count = 0

    def fill(self, beton: Beton, ids: Ids) -> None:
        """Called by the reader: read `ids`."""
        self.count = len(ids)
        beton.read(ids, self.host[: self.count].numpy(), threads=1)

    def images(self) -> Tensor:
        """What was read, for whoever computes."""
        return self.host[: self.count]

    def used(self) -> None:
        """The batch was made of it."""


class _PinnedBuffer(_Buffer):
    """Memory for one batch that is copied to a twin on the GPU without anybody waiting."""

    def __init__(self, beton: Beton, batch_size: int, device: torch.device) -> None:
        super().__init__(beton, batch_size)
        self.host = self.host.pin_memory()
        self.twin = torch.empty_like(self.host, device=device)
        self.bytes += self.twin.nbytes
        self._copying: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copied: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._computed: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def fill(self, beton: Beton, ids: Ids) -> None:
        """Called by the reader: read `ids`, begin to copy them."""
        self._copied.synchronize()  # the copy before may still read this memory
        super().fill(beton, ids)
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(self._computed)  # the batch before may still be computed
            self.twin[: self.count].copy_(self.host[: self.count], non_blocking=True)
            self._copied.record(self._copying)

    def images(self) -> Tensor:
        """What was copied, for the stream that computes."""
        torch.cuda.current_stream(self.twin.device).wait_event(self._copied)
        return self.twin[: self.count]

    def used(self) -> None:
        """The batch will be made of it by what was given to the device so far."""
        self._computed.record(torch.cuda.current_stream(self.twin.device))


class _Order:
    """One batch that the reader is to read."""

    def __init__(self, buffer: _Buffer, ids: Ids) -> None:
        self.buffer = buffer
        self.ids = ids
        self.done = threading.Event()
        self.error: BaseException | None = None


class _Reader:
    """One thread that fills buffers in the order in which they are asked for."""

    def __init__(self, beton: Beton) -> None:
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=_serve, args=(self._orders, beton), name="reader", daemon=True
        )
        self._thread.start()
        _live.add(self)

    def is_ours(self) -> bool:
        """Whether the thread runs in this process, and not in the one that it was forked from."""
        return self._process == os.getpid()

    def ask(self, buffer: _Buffer, ids: Ids) -> _Order:
        """Have `buffer` filled with the samples `ids`."""
        order = _Order(buffer, ids)
        self._orders.put(order)
        return order

    def wait(self, order: _Order) -> Tensor:
        """The images as soon as they are read; a fault of the reader is raised here."""
        if not self.is_ours():
            raise UserError(
                "this epoch began in another process; begin it again in this one, with skip=..."
            )
        while not order.done.is_set():
            if not self._thread.is_alive() and not order.done.is_set():
                raise UserError("this loader was closed in the middle of an epoch")
            order.done.wait(SECONDS_BETWEEN_LOOKS)
        if order.error is not None:
            raise order.error
        return order.buffer.images()

    def close(self) -> None:
        """End the thread once it has done what it was asked for."""
        self._orders.put(None)
        self._thread.join()
        _live.discard(self)


def _serve(orders: SimpleQueue[_Order | None], beton: Beton) -> None:
    while (order := orders.get()) is not None:
        try:
            order.buffer.fill(beton, order.ids)
        except BaseException as error:  # it is the epoch's to raise
            order.error = error
        order.done.set()
        del order


_live: weakref.WeakSet[_Reader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A reader must not touch memory that the ending interpreter takes away."""
    for reader in list(_live):
        if reader.is_ours():
            reader.close()
