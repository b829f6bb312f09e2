"""FFCV's writer and reader as we drive them, compared with stock FFCV."""

import os
import resource
import threading
from multiprocessing import Process
from pathlib import Path

import numpy as np
import pytest

from engine.data import ffcv_files
from engine.errors import UserError
from tests.support.data import stock_write


def some(count: int, side: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return images, random.integers(-1, 10, count)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    """The file of `some(3000)`."""
    path = tmp_path_factory.mktemp("written") / "x.beton"
    ffcv_files.write(path, *some(3000))
    return path.read_bytes()


@pytest.mark.parametrize("count", [1, 2729, 2730, 2731, 5000])
def test_what_was_written_reads_back_the_same_and_its_size_is_predicted(tmp_path, count):
    images, labels = some(count)  # 2730 fill a page
    path = tmp_path / "x.beton"
    ffcv_files.write(path, images, labels)
    size, _ = ffcv_files.verify(path, images, labels)
    assert size == path.stat().st_size == ffcv_files.size_of(count, 3072)


def test_two_writes_give_the_same_bytes_also_over_a_longer_file(tmp_path, written):
    (tmp_path / "again").write_bytes(os.urandom(30_000_000))
    ffcv_files.write(tmp_path / "again", *some(3000))
    assert (tmp_path / "again").read_bytes() == written


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_the_bytes_are_those_of_the_stock_writer_with_one_worker(tmp_path, written):
    stock_write(tmp_path / "stock", *some(3000), write_mode="raw")
    assert (tmp_path / "stock").read_bytes() == written


def test_the_stock_loader_reads_our_file(tmp_path):
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    images, labels = some(100)
    ffcv_files.write(tmp_path / "x.beton", images, labels)
    loader = Loader(
        str(tmp_path / "x.beton"),
        batch_size=32,
        num_workers=1,
        order=OrderOption.SEQUENTIAL,
        drop_last=False,
        pipelines={"image": [SimpleRGBImageDecoder()], "label": [IntDecoder()]},
    )
    iterator = iter(loader)
    try:  # each batch is copied: FFCV overwrites kept ones
        batches = [(image.copy(), label.copy()) for image, label in iterator]
    finally:
        iterator.close()
    assert np.array_equal(np.concatenate([image for image, _ in batches]), images)
    assert np.array_equal(np.concatenate([label for _, label in batches]).reshape(-1), labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros(2, int), "uint8"),
        (np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, int), "N H W 3"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3, int), "2 integers"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2), "integers"),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, int), "no images"),
        (np.zeros((1, 2000, 2000, 3), np.uint8), np.zeros(1, int), "do not fit"),
    ],
)
def test_samples_that_would_hang_ffcv_are_refused_before_writing(tmp_path, images, labels, message):
    with pytest.raises(UserError, match=message):
        ffcv_files.write(tmp_path / "x.beton", images, labels)
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_is_an_exception_and_leaves_no_thread(tmp_path):
    images, labels = some(4000)
    threads = threading.active_count()

    def stop(done: int, total: int) -> None:
        if done >= 3000:
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        ffcv_files.write(tmp_path / "x.beton", images, labels, stop)
    assert threading.active_count() <= threads


def test_no_shared_memory_and_no_process_is_used(tmp_path, monkeypatch):
    import multiprocessing.shared_memory

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("not needed in one process")

    monkeypatch.setattr(multiprocessing.shared_memory, "SharedMemory", refuse)
    monkeypatch.setattr(os, "fork", refuse)
    images, labels = some(100)
    ffcv_files.write(tmp_path / "x.beton", images, labels)


def _write_under_a_limit(path: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    images, labels = some(6000)
    try:
        ffcv_files.write(path, images, labels)
    except OSError:
        os._exit(7)
    os._exit(0)


@pytest.mark.parametrize("limit", [1000, 10_000_000, 20_000_000, 33_554_432 + 100])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_file_that_cannot_grow_is_an_error_at_every_stage(tmp_path, limit):
    assert ffcv_files.size_of(6000, 3072) == 33_554_432 + 6000 * 24
    writer = Process(target=_write_under_a_limit, args=(tmp_path / "x.beton", limit))
    writer.start()
    writer.join(30)
    assert writer.exitcode == 7


@pytest.mark.parametrize("where", ["first pixel", "last pixel", "label", "table", "pointer"])
def test_one_changed_byte_is_detected_when_read_back(tmp_path, written, where):
    path, content = tmp_path / "x.beton", bytearray(written)
    metadata = 24 + 2 * 1041
    place = {
        "first pixel": 1 << 23,
        "last pixel": (1 << 24) + 270 * 3072 - 1,
        "label": metadata + 24 * 1500 + 16,
        "table": len(content) - 24 * 1500,
        "pointer": metadata + 24 * 1500 + 5,
    }[where]
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="read back"):
        ffcv_files.verify(path, *some(3000))


def test_a_file_cut_short_is_detected_when_read_back(tmp_path, written):
    (tmp_path / "x.beton").write_bytes(written[: (1 << 24) + 100])
    with pytest.raises(UserError, match="read back"):
        ffcv_files.verify(tmp_path / "x.beton", *some(3000))
