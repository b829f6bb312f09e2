"""MixUp and CutMix: drawn once per step, the same at every resume, and labels by their shares."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from engine.config.schema import Augment, Optim
from engine.data.loader import Batch
from engine.model import ResNet
from engine.model.variants import Variant
from engine.optim.schedules import Rates
from engine.step.device import Machine
from engine.step.mixing import Mixing, mixed, mixing
from engine.step.training import TrainingStep

MIXUP, CUTMIX = Augment(mixup=0.4), Augment(cutmix=1.0)
BOTH = Augment(mixup=0.4, cutmix=1.0)


def _drawn(augment: Augment, steps: int = 2000, seed: int = 3) -> list[Mixing]:
    return [mixing(augment, seed, step, 32) for step in range(steps)]


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(5, 3, 8, 8).to(memory_format=torch.channels_last)
    return images, torch.tensor([0, 1, 2, 3, 0])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    shares = np.array([row.share for row in _drawn(Augment(mixup=alpha))])
    assert abs(shares.mean() - 0.5) < 0.03
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_a_cut_box_lies_inside_and_its_area_is_the_share() -> None:
    rows = _drawn(CUTMIX)
    for row in rows:
        assert 0 <= row.top <= row.bottom <= 32
        assert 0 <= row.left <= row.right <= 32
        assert row.share == 1 - (row.bottom - row.top) * (row.right - row.left) / 1024
        assert (row.inside, row.outside) == (0, 1)
    areas = 1 - np.array([row.share for row in rows])
    random = np.random.default_rng(0)  # the paper's, drawn directly
    cut = 32 * np.sqrt(1 - random.uniform(size=(100_000, 1)))
    middles = random.uniform(0, 32, (100_000, 2))
    sides = (middles + cut / 2).clip(0, 32) - (middles - cut / 2).clip(0, 32)
    assert areas.mean() == pytest.approx(sides.prod(1).mean() / 1024, abs=0.02)


def test_with_both_a_coin_decides_at_each_step() -> None:
    mixups = [row.inside == row.outside for row in _drawn(BOTH)]
    assert 900 < sum(mixups) < 1100
    runs = sum(a != b for a, b in itertools.pairwise(mixups))
    assert 900 < runs < 1100


def test_a_step_draws_the_same_whatever_came_before() -> None:
    rows = _drawn(BOTH, 50)
    assert len(set(rows)) == 50
    assert rows[7] == mixing(BOTH, 3, 7, 32)
    assert rows != _drawn(BOTH, 50, seed=4)


def test_mixup_is_the_weighted_mean_with_the_reversed_batch() -> None:
    images, labels = _batch()
    row = mixing(MIXUP, 3, 0, 8)
    out, mix = mixed(images, labels, torch.tensor(row))
    for i in range(5):
        expected = row.share * images[i] + (1 - row.share) * images[4 - i]
        torch.testing.assert_close(out[i], expected)
    assert mix.labels.tolist() == [0, 3, 2, 1, 0]
    assert float(mix.share) == pytest.approx(row.share)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_cutmix_copies_a_box_of_the_reversed_batch() -> None:
    images, labels = _batch()
    out, mix = mixed(images, labels, torch.tensor(Mixing(0.75, 0, 1, 2, 6, 1, 5)))
    expected = images.clone()
    expected[:, :, 2:6, 1:5] = images.flip(0)[:, :, 2:6, 1:5]
    assert torch.equal(out, expected)
    assert float(mix.share) == 0.75


def test_a_step_trains_on_both_labels_and_counts_the_first() -> None:
    torch.manual_seed(0)
    network = ResNet(Variant((1,), (4,)), classes=4, side=8)
    images, labels = _batch()
    row = Mixing(0.7, 0.7, 0.7, 0, 8, 0, 8)
    with torch.no_grad():
        logits = network.train()(0.7 * images + 0.3 * images.flip(0))
        losses = [float(cross_entropy(logits, each)) for each in (labels, labels.flip(0))]
    step = TrainingStep(network, Optim(), Machine(torch.device("cpu"), "fp32", False))
    step(Batch(images, labels), Rates(0.1, 0.9), 0, mixing=row)
    means = step.totals.read()
    assert means.loss == pytest.approx(0.7 * losses[0] + 0.3 * losses[1], rel=1e-5)
    assert means.accuracy == int((logits.argmax(1) == labels).sum()) / 5
