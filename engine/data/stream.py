"""Sets larger than the device's memory: one thread reads batches ahead into reused buffers.

A buffer belongs either to the reader or to a batch, never to both: it goes back only after the
batch was made from it and, on a GPU, after the device has recorded that. Reading, copying and
computing overlap; the copies run on their own CUDA stream.
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
from engine.data.counter import Ids
from engine.data.source import SourceBatch, Store
from engine.errors import UserError

AHEAD = 3  # batches; two would be enough if the reader never paused
SECONDS_BETWEEN_CHECKS = 1.0  # whether the reader is still alive


class Stream(Store):
    """A file read batch by batch; several epochs may be running at once."""

    def __init__(self, beton: Beton, device: torch.device) -> None:
        super().__init__(beton, device)
        self._reader: _Reader | None = None
        self._buffers: SimpleQueue[_Buffer] = SimpleQueue()
        self._bytes = self._count = 0
        self._closed = False

    @property
    def memory_bytes(self) -> int:
        """The buffers allocated so far, on host and device, and the labels."""
        return self._bytes + self.labels.nbytes

    def batches(self, ids: Ids, device_ids: Tensor, batch_size: int) -> Iterator[SourceBatch]:
        """Batches of consecutive ids, read ahead."""
        reader = self._running_reader()
        rows = torch.arange(min(batch_size, len(ids)), device=self.device)
        firsts = deque(range(0, len(ids), batch_size))
        pending: deque[_Request] = deque()
        try:
            while firsts or pending:
                while firsts and len(pending) < AHEAD:
                    buffer = self._free_buffer(batch_size, needed=not pending)
                    if buffer is None:  # other epochs have them; one is enough to continue
                        break
                    first = firsts.popleft()
                    pending.append(reader.request(buffer, ids[first : first + batch_size]))
                request = pending.popleft()
                try:
                    images = reader.wait(request)
                except BaseException:
                    self._discard(request.buffer)  # it may still be written to
                    raise
                try:
                    yield SourceBatch(images, rows[: len(images)])
                finally:
                    self._take_back(request.buffer)
        finally:  # also when the epoch is left early
            for request in pending:
                with contextlib.suppress(Exception):
                    reader.wait(request)
                    self._take_back(request.buffer)

    def close(self) -> None:
        """End the reader and free its buffers."""
        if self._reader is not None and self._reader.is_ours():
            self._reader.close()
        self._reader, self._buffers, self._closed = None, SimpleQueue(), True

    def _running_reader(self) -> _Reader:
        if self._closed:
            raise ValueError("this loader is closed")
        if self._reader is None or not self._reader.is_ours():  # threads do not survive a fork
            self._reader, self._buffers = _Reader(self.beton), SimpleQueue()
            self._bytes = self._count = 0
        return self._reader

    def _free_buffer(self, batch_size: int, *, needed: bool) -> _Buffer | None:
        """A free one that is large enough; a new one while there are few, or if `needed`."""
        while True:
            try:
                buffer = self._buffers.get_nowait()
            except Empty:
                break
            if len(buffer.host) >= batch_size:
                return buffer
            self._discard(buffer)
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

    def _discard(self, buffer: _Buffer) -> None:
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
        """Read the samples `ids`; called by the reader."""
        self.count = len(ids)
        beton.read(ids, self.host[: self.count].numpy(), threads=1)

    def images(self) -> Tensor:
        """The samples that were read."""
        return self.host[: self.count]

    def used(self) -> None:
        """Note that the batch was made."""


class _PinnedBuffer(_Buffer):
    """Pinned memory for one batch and its copy on the GPU, which nothing waits for."""

    def __init__(self, beton: Beton, batch_size: int, device: torch.device) -> None:
        super().__init__(beton, batch_size)
        self.host = self.host.pin_memory()
        self.on_device = torch.empty_like(self.host, device=device)
        self.bytes += self.on_device.nbytes
        self._copying: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copied: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._computed: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.on_device.record_stream(self._copying)  # freed memory waits for the last copy
        self.used()  # the first copy waits for whatever had this memory before

    def fill(self, beton: Beton, ids: Ids) -> None:
        """Read the samples `ids` and start to copy them; called by the reader.

        Without its device named, another thread's calls would occupy memory of the first GPU.
        """
        with torch.cuda.device(self.on_device.device):
            self._copied.synchronize()  # the last copy may still read this memory
            super().fill(beton, ids)
            with torch.cuda.stream(self._copying):
                self._copying.wait_event(self._computed)  # the last batch may still be computed
                self.on_device[: self.count].copy_(self.host[: self.count], non_blocking=True)
                self._copied.record(self._copying)

    def images(self) -> Tensor:
        """The copy, which the computing stream waits for."""
        torch.cuda.current_stream(self.on_device.device).wait_event(self._copied)
        return self.on_device[: self.count]

    def used(self) -> None:
        """Note that the batch is made by the work queued on the device so far."""
        self._computed.record(torch.cuda.current_stream(self.on_device.device))


class _Request:
    """One batch for the reader to read."""

    def __init__(self, buffer: _Buffer, ids: Ids) -> None:
        self.buffer = buffer
        self.ids = ids
        self.done = threading.Event()
        self.error: BaseException | None = None


class _Reader:
    """One thread that fills buffers in the order of the requests."""

    def __init__(self, beton: Beton) -> None:
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=_serve, args=(self._requests, beton), name="reader", daemon=True
        )
        self._thread.start()
        _live.add(self)

    def is_ours(self) -> bool:
        """Whether the thread runs in this process, and not in the parent it was forked from."""
        return self._process == os.getpid()

    def request(self, buffer: _Buffer, ids: Ids) -> _Request:
        """Have `buffer` filled with the samples `ids`."""
        request = _Request(buffer, ids)
        self._requests.put(request)
        return request

    def wait(self, request: _Request) -> Tensor:
        """The images once they are read; an error of the reader is raised here."""
        if not self.is_ours():
            raise UserError(
                "this epoch began in another process; begin it again in this one, with skip=..."
            )
        while not request.done.is_set():
            if not self._thread.is_alive() and not request.done.is_set():
                raise UserError("this loader was closed in the middle of an epoch")
            request.done.wait(SECONDS_BETWEEN_CHECKS)
        if request.error is not None:
            raise request.error
        return request.buffer.images()

    def close(self) -> None:
        """End the thread after the requests made so far."""
        self._requests.put(None)
        self._thread.join()
        _live.discard(self)


def _serve(requests: SimpleQueue[_Request | None], beton: Beton) -> None:
    while (request := requests.get()) is not None:
        try:
            request.buffer.fill(beton, request.ids)
        except BaseException as error:  # raised by `wait`
            request.error = error
        request.done.set()
        del request


_live: weakref.WeakSet[_Reader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """No reader may touch memory that the ending interpreter frees."""
    for reader in list(_live):
        if reader.is_ours():
            reader.close()
