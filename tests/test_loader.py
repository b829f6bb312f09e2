"""The loader: every sample once, the same batches from any step on, batches that may be kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import CLASSES, TRAIN_IMAGES, Files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.augment import reference
from engine.data.beton import open_beton
from engine.data.counter import Purpose, below, draws
from engine.data.loader import Loader
from engine.errors import UserError

shared_files = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@shared_files
@given(batch=st.integers(1, 80), epoch=st.integers(0, 5), seed=st.integers(0, 99))
def test_every_sample_is_delivered_once_an_epoch(
    files: Files, batch: int, epoch: int, seed: int
) -> None:
    loader = Loader(files.train, batch, seed=seed)
    labels = torch.cat([b.labels for b in loader.epoch(epoch)])
    ids = loader.ids(epoch)
    assert sorted(ids.tolist()) == list(range(TRAIN_IMAGES))
    assert (labels.numpy() == open_beton(files.train).labels[ids]).all()
    assert len(list(loader.epoch(epoch))) == len(loader)


@shared_files
@given(batch=st.integers(1, 80), data=st.data())
def test_starting_at_any_step_gives_the_same_batches(
    files: Files, batch: int, data: st.DataObject
) -> None:
    loader = Loader(files.train, batch, seed=3)
    skip = data.draw(st.integers(0, len(loader)))
    whole = list(loader.epoch(1))[skip:]
    part = list(loader.epoch(1, skip=skip))
    assert len(part) == len(whole)
    assert all(torch.equal(a.images, b.images) for a, b in zip(part, whole, strict=True))


def test_a_sample_looks_the_same_whatever_the_batch_size(files: Files) -> None:
    def by_id(batch: int) -> dict[int, torch.Tensor]:
        loader = Loader(files.train, batch, seed=3)
        images = torch.cat([b.images for b in loader.epoch(2)])
        return dict(zip(loader.ids(2).tolist(), images, strict=True))

    one, other = by_id(7), by_id(64)
    assert all(torch.equal(one[i], other[i]) for i in one)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "edge"])
def test_batches_equal_the_reference_image_by_image(files: Files, mode: str) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    loader = Loader(files.train, 16, seed=9, padding_mode=mode, mean=mean, std=std)
    pixels = open_beton(files.train).images()
    images = torch.cat([b.images for b in loader.epoch(4)])
    ids = loader.ids(4)
    words = draws(9, Purpose.AUGMENT, 4, ids)
    rows, columns, flips = below(words[:, 0], 9), below(words[:, 1], 9), words[:, 2] >> 31
    for k, sample in enumerate(ids.tolist()):
        crop = reference.crop_flip(pixels[sample], rows[k], columns[k], bool(flips[k]), 4, mode)
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


def test_without_shuffling_and_augmentation_images_come_as_they_are(files: Files) -> None:
    loader = Loader(
        files.test, 10, shuffle=False, crop_padding=0, flip="none", mean=(0,) * 3, std=(1,) * 3
    )
    images = torch.cat([b.images for b in loader.epoch(0)])
    expected = torch.from_numpy(open_beton(files.test).images()).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(images, expected)
    assert loader.ids(0).tolist() == list(range(len(expected)))


def test_half_of_the_images_are_mirrored_and_each_offset_is_used(files: Files) -> None:
    ids = np.arange(20_000)
    words = draws(0, Purpose.AUGMENT, 0, ids)
    share = (words[:, 2] >> 31).mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(len(ids))
    pairs = below(words[:, 0], 9) * 9 + below(words[:, 1], 9)
    counts = np.bincount(pairs, minlength=81)
    expected = len(ids) / 81
    assert ((counts - expected) ** 2 / expected).sum() < 125  # 80 degrees of freedom, 1 in 1000


def test_reflect_padding_as_wide_as_the_image_is_refused(files: Files) -> None:
    with pytest.raises(UserError, match="reflect padding must be smaller"):
        Loader(files.train, 8, crop_padding=32, padding_mode="reflect")


def test_the_context_manager_lets_go_of_the_data(files: Files) -> None:
    with Loader(files.train, 8) as loader:
        batch = next(iter(loader.epoch(0)))
    assert batch.images.isfinite().all()
    assert int(batch.labels.max()) < len(CLASSES)
    with pytest.raises(ValueError, match="closed"):
        next(iter(loader.epoch(0)))
