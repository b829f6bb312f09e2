"""FFCV's own writer and reader, called so that they cannot hang: the one file that imports ffcv.

`write` lets FFCV's `DatasetWriter` produce every byte, but in this process instead of in workers.
Bugs of FFCV 1.0.2 that this avoids:

- an exception in a worker (a bad sample, a full disk) leaves the writer waiting forever: here
  it is an ordinary exception;
- the shared memory of a failed write is never freed: here there is none;
- with two or more workers the bytes differ on every run: here there is one;
- the unbuffered page writes ignore short writes, so a nearly full disk silently loses bytes:
  here the file is buffered, which writes all or raises;
- after an error, leaving the allocator writes its page again and can loop forever: here it only
  closes the file.

Importing this takes some seconds, because ffcv imports torch and numba.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
from collections.abc import Callable, Iterator
from importlib import metadata
from multiprocessing import Value
from pathlib import Path
from typing import Any

import ffcv.writer
import numpy as np
from ffcv import libffcv
from ffcv.fields import IntField, RGBImageField
from ffcv.memory_allocator import MemoryAllocator
from ffcv.reader import Reader

from engine.errors import UserError

Progress = Callable[[int, int], None]  # samples done, samples in all

VERSION = metadata.version("ffcv")  # ffcv.__version__ says 0.0.3rc1
FIELDS = ("image", "label")
PAGE_BYTES = 1 << 23  # FFCV's default, in every file
RAW = 1  # FFCV's mode of an image that is not compressed


def write(
    path: Path, images: np.ndarray, labels: np.ndarray, progress: Progress | None = None
) -> None:
    """Write uint8 images (N H W C) and integer labels (N) as a `.beton` file, the same each time.

    `path` may exist: its content is replaced, the file itself is kept.
    """
    _check(images, labels)
    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    writer = _InProcessWriter(str(path), fields, page_size=PAGE_BYTES, num_workers=1)
    writer.progress = progress
    writer.from_indexed_dataset(_Samples(images, labels))


def decode_jpeg(content: np.ndarray, image: np.ndarray) -> bool:
    """Decode `content` into `image` (H W 3) as FFCV does; False if it cannot be decoded."""
    height, width, _ = image.shape
    places = (content.ctypes.data, content.size, height, width, image.ctypes.data)
    whole = (height, width, 0, 0, 1, 1, False, False)  # no crop, no offset, no scale, no flip
    return int(libffcv.ctypes_imdecode(*places, *whole)) == 0


def verify(
    path: Path, images: np.ndarray, labels: np.ndarray, progress: Progress | None = None
) -> tuple[int, str]:
    """Read `path` back through FFCV's `Reader` and compare every sample; its size and SHA-256.

    The pixels are read in pages, not mapped, so that the memory in use stays small.
    """
    try:
        reader = Reader(str(path))
    except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not readable by FFCV when read back ({error})") from None
    _expect(path, reader.num_samples == len(images), "holds another number of samples")
    _expect(path, tuple(reader.field_names) == FIELDS, "has other fields than image and label")
    image, label = (reader.metadata[name] for name in reader.metadata.dtype.names)
    _expect(path, bool((image["mode"] == RAW).all()), "holds compressed images")
    shapes = (image["height"] == images.shape[1]) & (image["width"] == images.shape[2])
    _expect(path, bool(shapes.all()), "holds images of another size")
    _expect(path, np.array_equal(label, labels), "holds other labels")
    pointers = image["data_ptr"].astype(np.int64)
    table = _is_table_of(reader.alloc_table, pointers, images)
    _expect(path, table, "has a wrong table of samples")
    digest = hashlib.sha256()
    size = done = 0
    with open(path, "rb") as file:
        while page := file.read(PAGE_BYTES):  # no sample straddles two pages
            digest.update(page)
            count = int(np.searchsorted(pointers, size + len(page))) - done
            starts = pointers[done : done + count] - size
            same = _contains(page, starts, images[done : done + count])
            _expect(path, same, f"differs from its source near sample {done:,}")
            size, done = size + len(page), done + count
            if progress is not None:
                progress(done, len(images))
    _expect(path, done == len(images), f"ends before sample {done:,}")
    return size, digest.hexdigest()


def size_of(samples: int, image_bytes: int) -> int:
    """The exact size of a file of this many images of one size, in bytes."""
    pages = -(-samples // (PAGE_BYTES // image_bytes))
    records = 24 + 2 * 1041 + samples * 24
    return (-(-records // PAGE_BYTES) + pages) * PAGE_BYTES + samples * 24


class _Samples:
    """The arrays as the indexable data set that FFCV expects."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], self.labels[index]


class _Allocator(MemoryAllocator):  # type: ignore[misc]
    """FFCV's page allocator with a buffered file, and without its endless loops after an error."""

    def __enter__(self) -> None:
        self.fp = open(self.fname, "ab")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self.flush_page()
                self.fp.flush()
        except BaseException:
            kind = OSError
            raise
        finally:
            with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
                self.fp.close()


class _InProcessWriter(ffcv.writer.DatasetWriter):  # type: ignore[misc]
    """FFCV's writer with its one worker called as a function."""

    progress: Progress | None = None

    def _write_common(
        self, num_samples: int, queue_content: Any, work_fn: Any, extra_worker_args: Any
    ) -> None:
        self.num_samples = num_samples
        work = _Work(queue_content, num_samples, self.progress)
        allocations: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.prepare()
        allocator = _Allocator(self.fname, self.data_region_start, self.page_size)
        work_fn(
            work,
            self.metadata_sm,
            self.metadata_type,
            self.fields,
            allocator,
            Value("Q", 0),
            allocations,
            *extra_worker_args,
        )
        self.finalize(allocations.get_nowait())

    def prepare(self) -> None:
        before = ffcv.writer.shared_memory
        ffcv.writer.shared_memory = _OwnMemory
        try:
            super().prepare()
        finally:
            ffcv.writer.shared_memory = before


class _OwnMemory:
    """Takes the place of `multiprocessing.shared_memory`: here nothing is shared."""

    class SharedMemory:
        """Zeroed memory, freed with the process however it ends."""

        def __init__(self, create: bool, size: int) -> None:
            self.buf = memoryview(bytearray(size))


class _Work:
    """The queue from which FFCV's worker takes its samples; it reports progress."""

    def __init__(self, content: Any, total: int, progress: Progress | None) -> None:
        self.content: Iterator[Any] = iter(content)
        self.done, self.total, self.progress = 0, total, progress

    def get(self) -> Any:
        if self.progress is not None:
            self.progress(self.done, self.total)
        todo = next(self.content, None)
        self.done += len(todo) if todo is not None else 0
        return todo


def _check(images: np.ndarray, labels: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise UserError(
            f"images must be uint8 of shape N H W 3, found {images.dtype} of {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"labels must be {len(images):,} integers, found {labels.dtype} of {labels.shape}"
        )
    if not len(images):
        raise UserError("no images: a .beton file needs at least one sample")
    if not 0 < images[0].nbytes <= PAGE_BYTES or max(images.shape[1:3]) > 65535:
        raise UserError(
            f"images of {images.shape[1]} x {images.shape[2]} pixels do not fit into "
            f"a page of {PAGE_BYTES:,} bytes"
        )


def _is_table_of(table: np.ndarray, pointers: np.ndarray, images: np.ndarray) -> bool:
    return bool(
        len(table) == len(images)
        and np.array_equal(table["sample_id"], np.arange(len(images)))
        and np.array_equal(table["ptr"], pointers)
        and (table["size"] == images[0].nbytes).all()
    )


def _contains(page: bytes, starts: np.ndarray, images: np.ndarray) -> bool:
    """Whether `page` contains the images at `starts`, one after the other."""
    length = images[0].nbytes if len(images) else 0
    if not np.array_equal(starts, np.arange(len(starts)) * length + starts[:1].sum()):
        return False
    if not len(starts):
        return True
    view = memoryview(page)[int(starts[0]) : int(starts[-1]) + length]
    return view == np.ascontiguousarray(images).reshape(-1).data


def _expect(path: Path, condition: bool, problem: str) -> None:
    if not condition:
        raise UserError(
            f"{path}: {problem} when read back; is the disk full or damaged? nothing was replaced"
        )
