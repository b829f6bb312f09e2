"""Reading ahead: failures are errors, buffers are never shared, nothing is left behind."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.data import stream
from engine.data.beton import Beton, open_beton
from engine.data.counter import Ids
from engine.data.loader import Loader
from engine.errors import UserError
from tests.support.data import TRAIN_IMAGES, Files, coloured, stock_write
from tests.support.resources import resident_bytes, threads_and_files
from tests.support.runs import Command, record_of


def _open(files: Files, batch: int = 8, **more: Any) -> Loader:
    return Loader(files.train, batch, seed=3, mode="stream", **more)


def test_several_epochs_at_once_do_not_affect_each_other(files: Files) -> None:
    expected = [[b.images for b in Loader(files.train, 8, seed=3).epoch(e)] for e in range(4)]
    with _open(files) as loader:
        epochs = [loader.epoch(e) for e in range(4)]
        for number, batches in enumerate(zip(*epochs, strict=True)):
            for epoch, batch in enumerate(batches):
                assert torch.equal(batch.images, expected[epoch][number])


def test_two_loaders_of_different_batch_sizes_share_one_store(files: Files) -> None:
    small, large = (Loader(files.train, batch, seed=3) for batch in (4, 20))
    with _open(files) as owner:
        one, other = (Loader(owner.store, batch, seed=3) for batch in (4, 20))
        for _ in range(3):
            for loader, expected in ((one, small), (other, large)):
                for result, wanted in zip(loader.epoch(1), expected.epoch(1), strict=True):
                    assert torch.equal(result.images, wanted.images)


def test_an_error_of_the_reader_is_raised_where_the_batch_is_wanted(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Beton.read, itertools.count()

    def failing(self: Beton, ids: Ids, out: Any, **more: Any) -> None:
        if next(calls) == 4:
            raise OSError("the disk is gone")
        real(self, ids, out, **more)

    with _open(files) as loader, monkeypatch.context() as patch:
        patch.setattr(Beton, "read", failing)
        arrived = []
        with pytest.raises(OSError, match="the disk is gone"):
            for batch in loader.epoch(0):
                arrived.append(batch)
        assert len(arrived) == 4
        held = loader.memory_bytes
        expected = list(Loader(files.train, 8, seed=3).epoch(0))
        again = list(loader.epoch(0))  # the loader is as good as before
        assert all(torch.equal(a.images, b.images) for a, b in zip(again, expected, strict=True))
        assert loader.memory_bytes == held + 8 * 32 * 32 * 3  # the lost buffer is replaced


def test_a_file_that_is_cut_while_it_is_read_is_named(files: Files, tmp_path: Path) -> None:
    copy = tmp_path / "copy.beton"
    copy.write_bytes(files.train.read_bytes())
    with Loader(copy, 8, mode="stream") as loader:
        epoch = loader.epoch(0)
        next(epoch)
        os.truncate(copy, 100)
        with pytest.raises(UserError, match="cut short, or replaced, while it was read"):
            list(epoch)
    with Loader(files.train, 8, mode="stream") as loader:
        assert len(list(loader.epoch(0))) == len(loader)


def test_a_removed_file_stays_readable(files: Files, tmp_path: Path) -> None:
    copy = tmp_path / "copy.beton"
    copy.write_bytes(files.train.read_bytes())
    with Loader(copy, 8, mode="stream") as loader:
        epoch = loader.epoch(0)
        next(epoch)
        copy.unlink()
        assert len(list(epoch)) == len(loader) - 1


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_thousand_early_exits_leave_nothing_behind(files: Files, mode: str) -> None:
    with Loader(files.train, 8, mode=mode, threads=2) as loader:

        def leave(times: int) -> None:
            for epoch in range(times):
                for _ in loader.epoch(epoch):
                    break

        leave(100)
        before, bytes_before, held = threads_and_files(), resident_bytes(), loader.memory_bytes
        leave(1000)
        assert threads_and_files() == before
        assert loader.memory_bytes == held
        assert resident_bytes() - bytes_before < 8 << 20


def test_closing_ends_the_reader_and_refuses_more(files: Files) -> None:
    before = threads_and_files()
    loader = _open(files)
    epoch = loader.epoch(0)
    next(epoch)
    loader.close()
    loader.close()
    assert threads_and_files()[0] == before[0]
    with pytest.raises(ValueError, match="closed"):
        next(loader.epoch(0))
    with pytest.raises((UserError, ValueError), match="closed"):
        list(epoch)


def _in_a_fork(loader: Loader, epoch: Any, messages: Any) -> None:
    try:
        next(epoch)
        messages.put("went on")
    except UserError as error:
        messages.put(str(error))
    messages.put([batch.images.sum().item() for batch in loader.epoch(1)])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_forked_process_reads_on_its_own(files: Files, mode: str) -> None:
    fork = multiprocessing.get_context("fork")
    with Loader(files.train, 8, mode=mode, dtype=torch.uint8, threads=2) as loader:
        expected = [batch.images.sum().item() for batch in loader.epoch(1)]
        epoch = loader.epoch(0)
        next(epoch)
        messages = fork.SimpleQueue()
        child = fork.Process(target=_in_a_fork, args=(loader, epoch, messages))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        first = messages.get()
        assert first == "went on" if mode == "resident" else "another process" in first
        assert messages.get() == expected
        assert len(list(epoch)) == len(loader) - 1  # the parent has lost nothing


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pinned_buffer_is_copied_after_what_had_its_memory_and_before_it_is_used_again(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Event:
        def __init__(self) -> None:
            self.name = "computed" if "made" in calls else "copied"
            calls.append("made")

        def record(self, on: Any) -> None:
            calls.append(f"{self.name}: after the work of {on.name} so far")

        def synchronize(self) -> None:
            calls.append(f"host waits for {self.name}")

    @contextlib.contextmanager
    def entered(what: Any) -> Iterator[None]:
        calls.append(f"in {getattr(what, 'name', what)}")
        yield

    def named(name: str) -> Any:
        waits = lambda event: calls.append(f"{name} waits for {event.name}")  # noqa: E731
        return SimpleNamespace(name=name, wait_event=waits)

    main, copying = named("main"), named("copying")
    for name, fake in (
        ("Event", Event),
        ("Stream", lambda device: copying),
        ("current_stream", lambda device: main),
        ("device", entered),
        ("stream", entered),
    ):
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    note = lambda tensor, on: calls.append(f"memory is freed after {on.name}")  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "record_stream", note)
    beton = open_beton(files.train)
    buffer = stream._PinnedBuffer(beton, 8, torch.device("cpu"))
    assert calls[2:] == ["memory is freed after copying", "computed: after the work of main so far"]
    for ids in (np.arange(8), np.arange(8, 13)):
        calls.clear()
        buffer.fill(beton, ids)
        assert calls == [
            "in cpu", "host waits for copied", "in copying", "copying waits for computed",
            "copied: after the work of copying so far",
        ]  # fmt: skip
        calls.clear()
        images = buffer.images()
        buffer.used()
        assert calls == ["main waits for copied", "computed: after the work of main so far"]
        expected = np.empty((len(ids), 32, 32, 3), np.uint8)
        beton.read(ids, expected, threads=1)
        assert np.array_equal(images.numpy(), expected)


def test_jpeg_files_are_streamed_and_resident(tmp_path: Path) -> None:
    path = tmp_path / "jpeg.beton"
    stock_write(path, *coloured(30, seed=4), write_mode="jpg")
    pixels = open_beton(path).images()
    plain: dict[str, Any] = {"crop_padding": 0, "flip": "none", "dtype": torch.uint8}
    for mode in ("resident", "stream"):
        with Loader(path, 8, mode=mode, **plain) as loader:
            images = torch.cat([b.images for b in loader.epoch(0)]).permute(0, 2, 3, 1)
            assert (images.numpy() == pixels[loader.ids(0)]).all()


def test_a_stream_trains_as_a_resident_set(command: Command, tmp_path: Path) -> None:
    digests = set()
    more = ["--data.validation", "0.2", "--augment.autoaugment", "--augment.cutout", "4"]
    for mode in ("resident", "stream"):
        root = tmp_path / mode
        assert command("--run.root", str(root / "runs"), "--data.mode", mode, *more) == 0
        record = record_of(root)
        assert record["train_images"] == TRAIN_IMAGES - 15
        digests.add((record["weights_sha256"], record["sample_trace"], record["fingerprint"]))
    assert len(digests) == 1
