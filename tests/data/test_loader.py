"""The loader: every sample once, the same batches from any step, batches that may be kept."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data import sidecar, stores
from engine.data.augment import reference
from engine.data.beton import open_beton
from engine.data.loader import REPORTS_MEAN, REPORTS_STD, Loader
from engine.data.stores import Resident
from engine.data.stream import Stream
from engine.data.transform import Transform
from engine.errors import UserError
from tests.support import autoaugment
from tests.support.data import CLASSES, TRAIN_IMAGES, Files

shared_files = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@shared_files
@given(batch=st.integers(1, 80), data=st.data())
def test_from_any_step_batches_are_the_same(files: Files, batch: int, data: st.DataObject) -> None:
    loader = Loader(files.train, batch, seed=3)
    skip = data.draw(st.integers(0, len(loader)))
    whole = list(loader.epoch(1))[skip:]
    part = list(loader.epoch(1, skip=skip))
    assert len(part) == len(whole)
    assert all(torch.equal(a.images, b.images) for a, b in zip(part, whole, strict=True))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "edge"])
def test_batches_equal_the_reference_image_by_image(files: Files, mode: str) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    loader = Loader(files.train, 16, seed=9, padding_mode=mode, mean=mean, std=std)
    pixels = open_beton(files.train).images()
    images = torch.cat([b.images for b in loader.epoch(4)])
    ids = loader.ids(4)
    for k, sample in enumerate(ids.tolist()):
        crop = reference.augment(pixels[sample], sample, Transform(padding_mode=mode), 9, 4)
        expected = reference.normalise(crop, mean, std).transpose(2, 0, 1)
        np.testing.assert_allclose(images[k].numpy(), expected, atol=1e-6)


def test_kept_batches_are_never_overwritten(files: Files) -> None:
    loader = Loader(files.train, 8)
    kept = list(loader.epoch(0))
    copies = [b.images.clone() for b in kept]
    list(loader.epoch(1))
    assert all(torch.equal(b.images, c) for b, c in zip(kept, copies, strict=True))


def test_a_last_batch_of_one_keeps_its_shape(files: Files) -> None:
    *_, last = Loader(files.train, TRAIN_IMAGES - 1).epoch(0)
    assert last.images.shape == (1, 3, 32, 32)
    assert last.labels.shape == (1,)


def test_the_last_batch_is_dropped_only_on_request(files: Files) -> None:
    dropping = Loader(files.train, 16, drop_last=True)
    assert len(dropping) == TRAIN_IMAGES // 16
    assert [len(b.labels) for b in dropping.epoch(0)] == [16] * len(dropping)
    assert len(dropping.ids(0)) == dropping.samples == 16 * len(dropping)


MODES = ("resident", "stream")


def _digest(loaders: list[Loader]) -> str:
    """Of three epochs of batches, in the order in which one process would see the samples."""
    digest = hashlib.sha256()
    for epoch in range(3):
        parts = [list(loader.epoch(epoch)) for loader in loaders]
        images = [torch.cat([b.images for b in part]).permute(0, 2, 3, 1) for part in parts]
        labels = [torch.cat([b.labels for b in part]) for part in parts]
        world, samples = len(loaders), sum(len(each) for each in labels)
        for sample in range(samples):
            rank, place = sample % world, sample // world
            digest.update(images[rank][place].contiguous().view(torch.uint8).numpy().tobytes())
            digest.update(labels[rank][place].numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_batches_are_the_same_whatever_the_mode_threads_batch_or_ranks(
    files: Files, dtype: torch.dtype
) -> None:
    def digest(batch: int, *, world: int = 1, **more: Any) -> str:
        usual: dict[str, Any] = {"seed": 2**40 + 1, "cutout": 5, "dtype": dtype}
        ranks = [
            Loader(files.train, batch, rank=rank, world_size=world, **usual, **more)
            for rank in range(world)
        ]
        return _digest(ranks)

    expected = digest(512)
    for mode in MODES:
        for batch in (1, 7, 512):
            for threads in (1, 2):
                assert digest(batch, mode=mode, threads=threads) == expected
        assert digest(7, world=3, mode=mode) == expected
    assert digest(7, flip="alternating") != expected


@shared_files
@given(data=st.data(), batch=st.integers(1, 30), world=st.integers(1, 5), dropping=st.booleans())
def test_ranks_share_an_epoch_step_by_step(
    files: Files, data: st.DataObject, batch: int, world: int, dropping: bool
) -> None:
    samples = data.draw(st.integers(1, TRAIN_IMAGES))
    subset = np.sort(np.random.default_rng(samples).permutation(TRAIN_IMAGES)[:samples])
    usual: dict[str, Any] = {"subset": subset, "drop_last": dropping, "seed": 5}
    ranks = [
        Loader(files.train, batch, rank=rank, world_size=world, **usual) for rank in range(world)
    ]
    whole = Loader(files.train, batch * world, **usual)
    visited = [rank.ids(1) for rank in ranks]
    assert [len(ids) for ids in visited] == [rank.samples for rank in ranks]
    steps = max(map(len, ranks))
    assert len(whole) == steps
    for step in range(steps):
        together = np.concatenate([ids[step * batch : (step + 1) * batch] for ids in visited])
        alone = whole.ids(1)[step * batch * world : (step + 1) * batch * world]
        assert sorted(together) == sorted(alone)
    if not dropping:
        assert sorted(np.concatenate(visited)) == subset.tolist()
    skip = data.draw(st.integers(0, steps))
    rest = [b.labels for b in ranks[0].epoch(1, skip=skip)]
    assert len(rest) == len(ranks[0]) - skip
    expected = open_beton(files.train).labels[visited[0][skip * batch :]]
    assert np.concatenate([*rest, np.empty(0, int)]).tolist() == expected.tolist()


@pytest.mark.parametrize("mode", MODES)
def test_only_a_ring_hands_out_its_buffers_again(files: Files, mode: str) -> None:
    usual: dict[str, Any] = {"seed": 1, "mode": mode}
    own = [b.images for b in Loader(files.train, 10, **usual).epoch(0)]
    assert len({each.data_ptr() for each in own}) == len(own)
    addresses = []
    for batch, expected in zip(Loader(files.train, 10, ring=3, **usual).epoch(0), own, strict=True):
        assert torch.equal(batch.images, expected)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        addresses.append(batch.images.data_ptr())
    assert len(set(addresses)) == 3
    assert addresses[3:] == addresses[:-3]


def test_autoaugment_stands_between_the_flip_and_the_cutout(files: Files) -> None:
    usual: dict[str, Any] = {"seed": 4, "dtype": torch.uint8}
    loader = Loader(files.train, 20, autoaugment=True, cutout=6, **usual)
    plain = Loader(files.train, 20, **usual)
    normalised = Loader(files.train, 20, seed=4, autoaugment=True, cutout=6)
    for epoch in range(2):
        results, before, floats = (
            torch.cat([b.images for b in each.epoch(epoch)]).permute(0, 2, 3, 1)
            for each in (loader, plain, normalised)
        )
        ids = loader.ids(epoch)
        drawn = reference.geometry(Transform(cutout=6), 4, epoch, ids, 32, 32)
        changed = autoaugment.ours(before, ids, 4, epoch).numpy()
        for k, corner in enumerate(zip(drawn.cut_rows, drawn.cut_columns, strict=True)):
            expected = reference.cut_out(changed[k], *map(int, corner), 6)
            assert (results[k].numpy() == expected).all()
            slow = reference.normalise(expected, REPORTS_MEAN, REPORTS_STD)
            np.testing.assert_allclose(floats[k], slow, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size 0: expected 1 or more"),
        ({"rank": 2, "world_size": 2}, "rank 2 of world_size 2"),
        ({"seed": -1}, "seed -1"),
        ({"dtype": torch.float16}, "expected one of uint8, float32, bfloat16 on cpu"),
        ({"std": (0.1, 0.0, 0.1)}, "std above 0"),
        ({"mean": (0.1,)}, "three numbers each"),
        ({"subset": np.array([0, 99])}, "id 99 is outside the 75 samples"),
        ({"crop_padding": 32, "padding_mode": "reflect"}, "reflect padding must be smaller"),
        ({"mode": "ram"}, "mode 'ram': expected auto, resident or stream"),
        ({"device": "meta"}, "device meta: expected cpu or cuda"),
    ],
)
def test_wrong_arguments_are_an_error(files: Files, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Loader(files.train, **({"batch_size": 8} | wrong))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named(files: Files) -> None:
    with pytest.raises(UserError, match="device cuda: torch sees no GPU here; use cpu"):
        Loader(files.train, 8, device="cuda")


def test_the_ids_belong_to_the_caller(files: Files) -> None:
    loader = Loader(files.test, 8, shuffle=False)
    loader.ids(0)[:] = 0
    assert loader.ids(0).tolist() == list(range(len(loader.beton)))


def test_opening_reads_the_index_alone_and_the_first_use_checks_every_byte(
    files: Files, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.beton"
    content = bytearray(files.train.read_bytes())
    content[-5_000] ^= 1  # the pixels are somewhere before, the table at the end
    copy.write_bytes(content)
    shutil.copy(sidecar.path_of(files.train), sidecar.path_of(copy))
    for mode in MODES:
        loader = Loader(copy, 8, mode=mode)
        for _ in range(2):
            with pytest.raises(UserError, match="damaged or another file"):
                next(loader.epoch(0))


def test_auto_streams_what_does_not_fit(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = TRAIN_IMAGES * 32 * 32 * 3
    for free, expected in [(2 * needed, Resident), (needed, Stream), (0, Stream)]:
        monkeypatch.setattr(stores, "free_bytes", lambda device, free=free: free)
        with Loader(files.train, 8) as loader:
            assert type(loader.store) is expected
            labels = torch.cat([b.labels for b in loader.epoch(0)])
            assert sorted(labels.tolist()) == sorted(open_beton(files.train).labels)
    monkeypatch.undo()
    assert 10**6 < stores.free_bytes(torch.device("cpu")) < 10**14


def test_the_memory_of_a_set_is_reported(files: Files) -> None:
    pixels, labels = TRAIN_IMAGES * 32 * 32 * 3, TRAIN_IMAGES * 8
    with Loader(files.train, 8, mode="resident") as loader:
        assert loader.memory_bytes == pixels + labels
    with Loader(files.train, 8, mode="stream") as loader:
        assert loader.memory_bytes == labels
        list(loader.epoch(0))
        assert loader.memory_bytes == labels + 3 * 8 * 32 * 32 * 3


def test_the_context_manager_closes_the_loader(files: Files) -> None:
    with Loader(files.train, 8) as loader:
        batch = next(iter(loader.epoch(0)))
    assert batch.images.isfinite().all()
    assert int(batch.labels.max()) < len(CLASSES)
    with pytest.raises(ValueError, match="closed"):
        next(iter(loader.epoch(0)))
