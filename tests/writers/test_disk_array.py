"""Images kept in a file while they are written, and the statistics of images."""

from pathlib import Path

import numpy as np
import pytest

from writers import dataset_statistics, disk_array, synthetic


def test_images_on_disk_are_read_back_in_any_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 4, 3, 3), np.uint8)
    stored = disk_array.DiskArray(images, tmp_path)
    assert not list(tmp_path.iterdir())  # the file has no name to leave behind
    assert (len(stored), stored.shape, stored.nbytes) == (2500, images.shape, images.nbytes)
    for index in (0, 1023, 1024, 2499, 7):
        assert (stored[index] == images[index]).all()
    for part in (slice(0, 10), slice(1000, 1100), slice(2400, 9999), slice(5, 5)):
        assert (stored[part] == images[part]).all()
    assert (np.stack(list(stored)) == images).all()
    assert dataset_statistics.mean_and_std(stored) == dataset_statistics.mean_and_std(images)
    assert disk_array.on_disk_if_large(images, tmp_path, 10**9) is images


@pytest.mark.parametrize("split", ["train", "test"])
def test_statistics_of_the_sidecar_agree_with_numpy(split: str) -> None:
    images, labels = synthetic.generate(split, 450)
    mean, std = dataset_statistics.mean_and_std(images)
    assert np.allclose(mean, images.reshape(-1, 3).mean(0) / 255, rtol=1e-12)
    assert np.allclose(std, images.reshape(-1, 3).std(0) / 255, rtol=1e-12)
    assert sum(dataset_statistics.class_counts(labels, 10)) == 450
