"""AutoAugment on whole batches is torchvision's on single Pillow images."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from engine.data.augment import autoaugment_gpu
from engine.data.augment.autoaugment import POLICY, apply, draw_steps
from engine.data.autoaugment_operations import (
    ALL_STEPS,
    MAGNITUDES,
    NOTHING,
    SIGNED,
    Operation,
    Steps,
    step,
)
from engine.data.kernels import autoaugment as autoaugment_cpu
from engine.errors import UserError
from tests.support.autoaugment import Images, torchvisions
from tests.support.autoaugment import ours as augmented

Way = Callable[[Images, Steps], Images]

SIZES = [(32, 32), (20, 28), (7, 5), (2, 9), (3, 3), (1, 1)]


def on_the_cpu(images: Images, steps: Steps) -> Images:
    out = np.empty_like(images)
    autoaugment_cpu.apply(images, steps, out)
    return out


def by_groups(images: Images, steps: Steps) -> Images:
    """The GPU implementation, here on the CPU."""
    out = torch.from_numpy(np.empty_like(images))
    autoaugment_gpu.apply(torch.from_numpy(images), steps, out)
    return out.numpy()


ways = pytest.mark.parametrize("way", [on_the_cpu, by_groups])


def pictures(count: int, height: int = 32, width: int = 32, seed: int = 0) -> Images:
    """Smooth and noisy ones, dark and bright ones, some of one colour or of two values."""
    random = np.random.default_rng(seed)
    images = []
    for k in range(count):
        coarse = random.integers(0, 256, (*random.integers(1, 9, 2), 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = random.normal(0, random.choice([0, 3, 20]), (height, width, 3))
        values = np.asarray(smooth) * random.uniform(0.1, 1.2) + random.integers(-30, 120) + noise
        if k % 10 == 0:
            values[..., random.integers(3)] = random.integers(256)
        elif k % 10 == 1:
            values = 200 * (values > 100)
        images.append(values.clip(0, 255).astype(np.uint8))
    return np.stack(images)


def theirs(operation: Operation) -> str:
    """torchvision's name of an operation."""
    return operation.name.title().replace("_", "")


def the_same_step(count: int, number: int) -> Steps:
    return np.stack([np.full(count, number), np.full(count, NOTHING)], axis=1)


@ways
@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_each_operation_equals_pillows_to_the_bit(
    height: int, width: int, operation: Operation, way: Way
) -> None:
    images = pictures(20, height, width)
    space = AutoAugment()._augmentation_space(MAGNITUDES, (height, width))
    magnitudes, signed = space[theirs(operation)]
    assert signed == (operation in SIGNED)
    for index in range(MAGNITUDES):
        for negative in (False, True):
            magnitude = float(magnitudes[index]) if magnitudes.ndim else 0.0
            magnitude *= -1 if signed and negative else 1
            how = (theirs(operation), magnitude, InterpolationMode.NEAREST, None)
            expected = [np.asarray(_apply_op(Image.fromarray(image), *how)) for image in images]
            steps = the_same_step(len(images), step(operation, index, negative))
            np.testing.assert_array_equal(way(images, steps), expected)


@pytest.mark.filterwarnings("ignore:dtype.*align should be passed")  # CIFAR-10's pickles are old
def test_real_photographs_equal_torchvisions_result(cifar10: Path) -> None:
    rows = pickle.loads((cifar10 / "test_batch").read_bytes(), encoding="bytes")[b"data"][:500]
    images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    ids = np.arange(500)
    ours = augmented(torch.from_numpy(images), ids, seed=5, epoch=2)
    np.testing.assert_array_equal(ours, torchvisions(images, ids, seed=5, epoch=2))


def test_the_policy_is_that_of_torchvision() -> None:
    expected = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    ours = [tuple((theirs(do), chance, level) for do, chance, level in pair) for pair in POLICY]
    assert ours == [tuple((do, chance, at or 0) for do, chance, at in pair) for pair in expected]


@ways
def test_a_batch_equals_torchvisions_for_the_same_draws(way: Way) -> None:
    images, ids = pictures(400), np.arange(1000, 1400)
    ours = way(images, draw_steps(ids, seed=3, epoch=7))
    np.testing.assert_array_equal(ours, torchvisions(images, ids, seed=3, epoch=7))


def test_operations_are_as_frequent_as_in_torchvision() -> None:
    samples = 400_000
    expected: Counter[tuple[int, int]] = Counter()
    for pair in AutoAugment(AutoAugmentPolicy.CIFAR10).policies:
        outcomes: list[list[tuple[int, float]]] = []
        for name, chance, level in pair:
            operation = next(each for each in Operation if theirs(each) == name)
            signs = (False, True) if operation in SIGNED else (False,)
            done = [(step(operation, level or 0, sign), chance / len(signs)) for sign in signs]
            outcomes.append([*done, (NOTHING, 1 - chance)])
        for first, chance in outcomes[0]:
            for second, and_then in outcomes[1]:
                expected[first, second] += samples * chance * and_then / 25
    drawn = Counter(map(tuple, draw_steps(np.arange(samples), seed=11, epoch=0).tolist()))
    assert set(drawn) <= {outcome for outcome, times in expected.items() if times}
    counted = [(drawn[outcome], times) for outcome, times in expected.items() if times]
    assert min(mean for _, mean in counted) > 5
    chi_square = sum((count - mean) ** 2 / mean for count, mean in counted)
    freedom = len(counted) - 1
    assert freedom > 100
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5  # nearly normal for that many


@pytest.mark.parametrize("batch", [1, 7, 64, 65, 150])
def test_batch_size_and_order_do_not_change_an_image(batch: int) -> None:
    images, ids = torch.from_numpy(pictures(150)), np.arange(150)
    whole = augmented(images, ids, seed=1, epoch=4)
    order = np.random.default_rng(batch).permutation(150)
    result = torch.empty_like(images)
    for first in range(0, 150, batch):
        part = order[first : first + batch]
        result[part] = augmented(images[part], part, seed=1, epoch=4)
    assert torch.equal(result, whole)


def test_any_number_of_threads_gives_the_same_images() -> None:
    images, ids = torch.from_numpy(pictures(300)), np.arange(300)
    alone = augmented(images, ids, seed=1, epoch=4)
    torch.set_num_threads(3)
    assert torch.equal(augmented(images, ids, seed=1, epoch=4), alone)


def test_another_seed_epoch_or_sample_draws_other_operations() -> None:
    ids = np.arange(2000)
    settings = [(ids, 0, 0), (ids, 0, 1), (ids, 1, 0), (ids + 2000, 0, 0)]
    for one, other in itertools.combinations(settings, 2):
        assert (draw_steps(*one) != draw_steps(*other)).any(axis=1).mean() > 0.7


def test_the_input_is_unchanged_unless_it_is_also_the_output() -> None:
    images, ids = torch.from_numpy(pictures(100)), np.arange(100)
    kept = images.clone()
    done = augmented(images, ids, seed=0, epoch=0)
    assert torch.equal(images, kept)
    assert not torch.equal(done, kept)
    assert apply(images, draw_steps(ids, 0, 0), out=images) is images
    assert torch.equal(images, done)


@ways
def test_images_that_draw_nothing_are_only_copied(way: Way) -> None:
    images = pictures(5)
    np.testing.assert_array_equal(way(images, the_same_step(5, NOTHING)), images)
    assert not np.shares_memory(way(images, the_same_step(5, NOTHING)), images)


def test_an_empty_batch_stays_empty() -> None:
    none = torch.empty(0, 32, 32, 3, dtype=torch.uint8)
    assert augmented(none, np.arange(0), 0, 0).shape == none.shape


def test_images_that_are_not_contiguous_are_augmented_alike() -> None:
    planar = torch.from_numpy(pictures(50)).permute(0, 3, 1, 2).contiguous()
    images = planar.permute(0, 2, 3, 1)
    assert not images.is_contiguous()
    expected = augmented(images.contiguous(), np.arange(50), 0, 0)
    assert torch.equal(augmented(images, np.arange(50), 0, 0), expected)


BATCH = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
IDLE = the_same_step(4, NOTHING)


@pytest.mark.parametrize(
    ("images", "steps", "out", "problem"),
    [
        (BATCH.float(), IDLE, None, "images: torch.float32 .* AutoAugment works on uint8 pixels"),
        (BATCH.permute(0, 3, 1, 2), IDLE, None, "works on uint8 pixels, N H W 3"),
        (BATCH[0], IDLE, None, "works on uint8 pixels, N H W 3"),
        (BATCH, IDLE[:3], None, r"steps: int64 \(3, 2\); expected .* two for each of 4 images"),
        (BATCH, IDLE.astype(np.int32), None, "steps: int32"),
        (BATCH, IDLE + ALL_STEPS + 1, None, "steps: 280 to 280; expected -1 to 279"),
        (BATCH, IDLE - 1, None, "steps: -2 to -2; expected -1 to 279"),
        (BATCH, IDLE, BATCH.float(), "out: torch.float32"),
        (BATCH, IDLE, BATCH[:3], r"out: torch.uint8 \(3, 8, 8, 3\)"),
        (BATCH, IDLE, BATCH.transpose(1, 2), "out: expected contiguous memory"),
    ],
)
def test_input_that_cannot_be_augmented_is_an_error(
    images: Tensor, steps: Steps, out: Tensor | None, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        apply(images, steps, out)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_images_and_is_never_waited_for() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    images, ids = torch.from_numpy(pictures(500)), np.arange(500)
    resident = images.cuda()
    augmented(resident, ids, seed=2, epoch=0)  # the constants travel once
    torch.cuda.set_sync_debug_mode("error")
    try:
        done = augmented(resident, ids, seed=2, epoch=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(done.cpu(), augmented(images, ids, seed=2, epoch=1))
