"""The step: equal to a plain loop in torch, stopped before an update that is not finite."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from engine.config.schema import Optim, Runtime
from engine.data.loader import Batch
from engine.optim.schedules import Rates
from engine.step import device
from engine.step.device import Machine
from engine.step.loss_scale import LossScale
from engine.step.training import TrainingStep

CPU = torch.device("cpu")
RATES = Rates(0.1, 0.9)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def _batch(seed: int, samples: int = 16) -> Batch:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(samples, 3, 8, 8, generator=random)
    return Batch(images, torch.randint(0, 10, (samples,), generator=random))


def _weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("clip", [{}, {"clip_value": 0.01}, {"clip_norm": 0.05}])
def test_fp32_steps_equal_a_plain_loop(clip: dict[str, float]) -> None:
    ours, plain = _network(), _network()
    step = TrainingStep(ours, Optim(**clip), Machine(CPU, "fp32", False))
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, 0.9, weight_decay=5e-4)
    losses = 0.0
    for number in range(20):
        images, labels = _batch(number)
        step(Batch(images, labels), RATES, number)
        optimizer.zero_grad()
        loss = cross_entropy(plain(images), labels)
        loss.backward()
        if "clip_value" in clip:
            nn.utils.clip_grad_value_(plain.parameters(), clip["clip_value"])
        if "clip_norm" in clip:
            nn.utils.clip_grad_norm_(plain.parameters(), clip["clip_norm"])
        optimizer.step()
        losses += loss.item() * len(labels)
    torch.testing.assert_close(_weights(ours), _weights(plain), rtol=1e-5, atol=1e-6)
    means = step.totals.read()
    assert means.images == 20 * 16
    assert means.loss == pytest.approx(losses / (20 * 16), rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_fp32(precision: str) -> None:
    def train(machine: Machine) -> tuple[float, TrainingStep]:
        step = TrainingStep(_network(), Optim(lr=0.05), machine)
        for number in range(60):
            step(_batch(number % 4), Rates(0.05, 0.9), number)
        return step.totals.read().loss, step

    full, _ = train(Machine(CPU, "fp32", False))
    mixed, step = train(Machine(CPU, precision, False))
    assert step.first_bad_step() is None
    # bf16 keeps 8 bits: a logit of order 1 is off by up to 0.004, a mean loss by less than that
    assert mixed == pytest.approx(full, abs=0.02)
    assert all(p.dtype == torch.float32 for p in step.network.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("where", ["input", "weight", "rate"])
def test_values_that_are_not_finite_stop_before_the_update(precision: str, where: str) -> None:
    network = _network()
    step = TrainingStep(network, Optim(), Machine(CPU, precision, False))
    for number in range(3):
        step(_batch(number), RATES, number)
    if where == "rate":
        step(_batch(3), Rates(float("nan"), 0.9), 3)  # poisons the weights for the next step
        assert step.first_bad_step() is None
    images, labels = _batch(4)
    if where == "input":
        images[0, 0, 0, 0] = float("nan")
    if where == "weight":
        with torch.no_grad():
            network[5].bias[0] = float("inf")
    before = _weights(network).clone()
    for number in (4, 5):  # and no later step updates either
        step(Batch(images, labels), RATES, number)
    bad = step.first_bad_step()
    assert bad is not None
    assert bad[0] == 4
    assert torch.equal(_weights(network).nan_to_num(7.0), before.nan_to_num(7.0))


def test_an_overflow_of_the_loss_scale_skips_one_step() -> None:
    step = TrainingStep(_network(), Optim(), Machine(CPU, "fp16", False))
    scaling = step._scaling
    assert scaling is not None
    scaling.scale.fill_(1e38)
    before = _weights(step.network).clone()
    step(_batch(0), RATES, 0)
    assert torch.equal(_weights(step.network), before)
    assert float(scaling.scale) == pytest.approx(5e37)
    assert step.first_bad_step() is None
    scaling.scale.fill_(1024.0)
    step(_batch(1), RATES, 1)
    assert not torch.equal(_weights(step.network), before)


def test_the_loss_scale_grows_after_many_good_steps() -> None:
    scaling = LossScale(CPU)
    good, bad = torch.tensor(False), torch.tensor(True)
    for _ in range(LossScale.GROW_EVERY - 1):
        scaling.update(good)
    assert float(scaling.scale) == LossScale.START
    scaling.update(good)
    assert float(scaling.scale) == 2 * LossScale.START
    scaling.update(bad)
    assert float(scaling.scale) == LossScale.START
    assert float(scaling.good_steps) == 0


def test_the_workspace_of_cublas_is_the_same_in_exact_and_other_runs_and_the_users_if_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    for own in ("", ":16:8"):
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", own)
        for exact in (True, False):
            device.prepare(Runtime(device="cpu", precision="fp32", exact=exact))
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == own


def test_autocast_keeps_no_casts_which_a_graph_would_be_recorded_with() -> None:
    with Machine(CPU, "bf16", False).autocast():
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()


def test_exact_mode_uses_one_thread_and_deterministic_kernels() -> None:
    device.prepare(Runtime(device="cpu", threads=2, exact=True))
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
