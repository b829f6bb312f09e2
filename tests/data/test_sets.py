"""The loaders of a run: one split, mean and std from the data, wrong pairs of files refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config.schema import Augment, Config, Data, Train
from engine.data import sidecar
from engine.data.sets import DataSets, open_sets
from engine.errors import UserError
from tests.support.data import TRAIN_IMAGES, Files, coloured, rewrite_sidecar, write_beton

CPU = torch.device("cpu")


def _sets(
    files: Files, validation: float = 0.0, seed: int = 0, limit: int = 0, **augment: object
) -> DataSets:
    config = Config(
        data=Data(str(files.train), str(files.test), validation, limit),
        train=Train(batch_size=16, seed=seed),
        augment=Augment(**augment),  # type: ignore[arg-type]
    )
    return open_sets(config, CPU)


@pytest.mark.parametrize(("share", "count"), [(0.2, 15), (0.02, 2), (30, 30), (1, 1)])
def test_held_out_images_are_not_trained_on(files: Files, share: float, count: int) -> None:
    sets = _sets(files, share)
    trained = {int(i) for epoch in range(3) for i in sets.train.ids(epoch)}
    watched = set(sets.watched.ids(0).tolist())
    assert sets.validated
    assert len(watched) == count
    assert trained | watched == set(range(TRAIN_IMAGES))
    assert not trained & watched


def test_the_split_follows_the_seed(files: Files) -> None:
    splits = [set(_sets(files, 0.2, seed).watched.ids(0).tolist()) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    "augment",
    [{"mean": (0.0,) * 3, "std": (1.0,) * 3}, {"normalize": False, "mean": (0.5,) * 3}],
)
def test_watched_images_are_only_normalised(files: Files, augment: dict[str, object]) -> None:
    sets = _sets(files, 0.2, **augment)
    assert (sets.mean, sets.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    for loader in (sets.watched, sets.test):
        images = torch.cat([batch.images for batch in loader.epoch(0)])
        pixels = torch.from_numpy(loader.beton.images()[loader.ids(0)])
        torch.testing.assert_close(images, pixels.permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize("validation", [60.0, 75.0, 0.9, 0.001])
def test_a_split_that_leaves_nothing_is_refused(files: Files, validation: float) -> None:
    with pytest.raises(UserError, match=r"data\.validation"):
        _sets(files, validation)


def test_mean_and_std_can_be_those_of_the_training_file(files: Files) -> None:
    sets = _sets(files, mean="data", std="data")
    images = torch.cat([batch.images for batch in sets.test.epoch(0)])
    known = sidecar.read(files.train)
    assert known is not None
    assert sets.mean == known.mean
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=0.1)
    np.testing.assert_allclose(images.std((0, 2, 3)), 1, atol=0.1)


def test_a_file_without_sidecar_needs_mean_and_std(files: Files, tmp_path: Path) -> None:
    bare = Path(shutil.copy(files.train, tmp_path))
    with pytest.raises(UserError, match="no sidecar"):
        _sets(replace(files, train=bare), mean="data")
    assert any("no sidecar" in warning for warning in _sets(replace(files, train=bare)).warnings)


def test_suspicious_pairs_of_files_give_a_warning(files: Files) -> None:
    assert _sets(files).warnings == ()
    assert "same file" in _sets(Files(files.train, files.train)).warnings[0]
    third = files.test.with_name("third.beton")
    write_beton(third, *coloured(20, 3), split="test")
    assert "is a test set" in _sets(Files(third, files.test)).warnings[0]


def test_swapped_files_are_refused(files: Files) -> None:
    with pytest.raises(UserError, match="swapped"):
        _sets(Files(files.test, files.train))


def test_a_constant_channel_cannot_be_normalised_by_the_data(files: Files, tmp_path: Path) -> None:
    flat = tmp_path / "flat.beton"
    images, labels = coloured(40, 0)
    images[..., 1] = 7
    write_beton(flat, images, labels, split="train")
    with pytest.raises(UserError, match="without any difference"):
        _sets(replace(files, train=flat), std="data")
    assert _sets(replace(files, train=flat)).train.samples == 40


def test_a_test_set_of_other_classes_or_sizes_is_refused(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.beton"
    write_beton(other, *coloured(20, 0), split="test")
    rewrite_sidecar(other, other, classes=["a", "b", "c", "d"])
    with pytest.raises(UserError, match="4 classes"):
        _sets(Files(files.train, other))
    images, labels = coloured(20, 0)
    small = tmp_path / "small.beton"
    write_beton(small, images[:, :16, :16], labels, split="test")
    with pytest.raises(UserError, match="16x16"):
        _sets(Files(files.train, small))
    wide = tmp_path / "wide.beton"
    write_beton(wide, images[:, :16], labels, split="train")
    with pytest.raises(UserError, match="expected squares"):
        _sets(Files(wide, wide))


@pytest.mark.parametrize(("limit", "trained", "tested"), [(0, 75, 41), (40, 40, 40), (60, 60, 41)])
def test_a_limit_cuts_both_sets_and_a_file_of_fewer_is_left_whole(
    files: Files, limit: int, trained: int, tested: int
) -> None:
    sets = _sets(files, limit=limit)
    assert len(set(sets.train.ids(0).tolist())) == sets.train.samples == trained
    assert len(set(sets.test.ids(0).tolist())) == sets.test.samples == tested
    assert sets.watched is sets.test
    counts = np.bincount(sets.train.beton.labels[sets.train.ids(0)])
    assert counts.max() - counts.min() <= 1


def test_validation_images_come_from_the_limited_set(files: Files) -> None:
    sets = _sets(files, 0.1, limit=40)
    trained, watched = set(sets.train.ids(0).tolist()), set(sets.watched.ids(0).tolist())
    assert (len(trained), len(watched)) == (36, 4)
    assert trained | watched == set(_sets(files, limit=40).train.ids(0).tolist())
    assert trained.isdisjoint(watched)


def test_the_seed_picks_a_limited_training_set_but_not_the_test_set(files: Files) -> None:
    one, again, other = (_sets(files, seed=seed, limit=30) for seed in (0, 0, 1))
    assert (one.train.ids(0) == again.train.ids(0)).all()
    assert set(one.train.ids(0).tolist()) != set(other.train.ids(0).tolist())
    assert (one.test.ids(0) == other.test.ids(0)).all()


def test_a_limit_below_a_batch_still_trains_and_holds_out(files: Files) -> None:
    sets = _sets(files, 2, limit=10)
    assert (sets.train.samples, sets.watched.samples, len(sets.train)) == (8, 2, 1)
    with pytest.raises(UserError, match=r"data\.validation 0\.01: holds out 0 of 10"):
        _sets(files, 0.01, limit=10)


def test_settings_larger_than_the_images_are_named(files: Files, tmp_path: Path) -> None:
    images, labels = coloured(20, 0)
    small = tmp_path / "small.beton"
    write_beton(small, np.ascontiguousarray(images[:, :16, :16]), labels, split="train")
    for mode in ("zeros", "reflect", "edge"):
        with pytest.raises(UserError) as caught:
            _sets(Files(small, small), crop_padding=16, padding_mode=mode, cutout=17)
        padding, cutout = caught.value.problems
        assert padding.startswith("augment.crop_padding 16: padding must be smaller than")
        assert cutout.startswith("augment.cutout 17: expected 0 to 16")
    assert _sets(Files(small, small), crop_padding=15, padding_mode="reflect", cutout=16)
