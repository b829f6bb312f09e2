import hashlib

import numpy as np
import pytest
import torch

from writers import synthetic


def digest(split: str) -> str:
    images, labels = synthetic.generate(split, 1000)
    return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", "3891f0d9b66ea662a0b69b1ef84b8aa94c99b9ac51d7d3af01c99981e3780aaf"),
        ("test", "4c62cd490f629fc90669ec366780c561c283ceaa0493e0f722e5be123a1ee0a2"),
    ],
)
def test_the_images_are_the_same_on_every_machine(split, expected):
    assert digest(split) == expected, "raise synthetic.VERSION whenever a pixel changes"
    assert synthetic.VERSION == "philox:figures-1"


def test_a_shorter_set_is_the_beginning_of_a_longer_one():
    short, short_labels = synthetic.generate("train", 7)
    long, long_labels = synthetic.generate("train", 450)
    assert np.array_equal(short, long[:7])
    assert np.array_equal(short_labels, long_labels[:7])


def test_images_are_colour_and_classes_are_even():
    images, labels = synthetic.generate("test", 500)
    assert images.shape == (500, 32, 32, 3) and images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.bincount(labels, minlength=10).tolist() == [50] * 10
    assert len(synthetic.CLASSES) == 10
    grey = (images[..., 0] == images[..., 1]) & (images[..., 1] == images[..., 2])
    assert grey.mean() < 0.05


def test_training_and_test_images_have_nothing_in_common():
    train, _ = synthetic.generate("train", 400)
    test, _ = synthetic.generate("test", 400)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


def test_progress_reaches_the_end():
    seen = []
    synthetic.generate("train", 450, lambda done, total: seen.append((done, total)))
    assert seen == [(200, 450), (400, 450), (450, 450)]


@pytest.mark.parametrize("samples", [4000, pytest.param(12_000, marks=pytest.mark.slow)])
def test_a_linear_classifier_learns_something_and_stays_under_60_percent(samples):
    torch.manual_seed(0)
    images, labels = synthetic.generate("train", samples)
    x = torch.from_numpy(images).reshape(len(images), -1).float() / 255 - 0.5
    y = torch.from_numpy(labels)
    test_images, test_labels = synthetic.generate("test", 1000)
    test_x = torch.from_numpy(test_images).reshape(1000, -1).float() / 255 - 0.5
    model = torch.nn.Linear(3072, 10)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(12):
        for batch in torch.randperm(len(x)).split(250):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    correct = (model(test_x).argmax(1) == torch.from_numpy(test_labels)).float().mean().item()
    assert 0.15 < correct < 0.6
