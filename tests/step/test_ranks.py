"""Several ranks compute what one process does with the whole batch."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from engine.config.schema import Config, Optim, from_dict
from engine.data.loader import Batch, Loader
from engine.data.sets import open_sets
from engine.errors import UserError
from engine.model import ResNet, Variant
from engine.model.norm import share
from engine.optim.schedules import Rates
from engine.runs.state import State
from engine.step import replay
from engine.step.device import Machine
from engine.step.evaluation import evaluate
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means
from engine.step.training import TrainingStep
from tests.support import recording_device
from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files
from tests.support.ranks import in_threads, ranks_of

CPU = Machine(torch.device("cpu"), "fp32", compile=False)
BATCH, EPOCHS = 24, 2  # the last batch of an epoch has 3 images
VARIANT = Variant((1, 1), (4, 6), se="stem", se_reduction=2)


class _Double(nn.Module):
    """A network that computes in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.network = ResNet(VARIANT, 4).double()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.double())
        return logits


class _Result(NamedTuple):
    losses: list[float]
    state: dict[str, Tensor]
    trained: Means
    evaluated: Means | None
    ids: list[int]


def _train(network: nn.Module, files: Files, ranks: Ranks, optim: Optim) -> _Result:
    """Some epochs with this rank's part of every batch."""
    part = {"rank": ranks.number, "world_size": ranks.count}
    loader = Loader(files.train, BATCH // ranks.count, seed=4, cutout=4, **part)  # type: ignore[arg-type]
    step = TrainingStep(network, optim, CPU, batch_size=BATCH, ranks=ranks, steps=8)
    losses, ids, number = [], [], 0
    for epoch in range(EPOCHS):
        ids += loader.ids_of_all(epoch).tolist()
        for at, batch in enumerate(loader.epoch(epoch)):
            before = step.totals.loss.item()
            step(batch, Rates(0.05, 0.9), number, images=loader.images_at(at))
            losses.append((step.totals.loss.item() - before) / loader.images_at(at))
            number += 1
    assert step.first_bad_step() is None
    test = Loader(files.test, 8, shuffle=False, crop_padding=0, flip="none", **part)  # type: ignore[arg-type]
    evaluated = evaluate(network, test, CPU, ranks=ranks)
    return _Result(losses, network.state_dict(), step.totals.read(), evaluated, ids)


@pytest.mark.parametrize(
    ("count", "optim"),
    [
        (2, Optim(nesterov=True)),
        (3, Optim(name="adam", clip_norm=0.5)),
        (2, Optim(name="muon", lookahead_k=2, lookahead_buffers=True, ema_decay=0.5)),
    ],
    ids=["2 sgd", "3 adam", "2 muon, averages"],
)
def test_losses_weights_samples_and_evaluation_are_those_of_one_process(
    files: Files, count: int, optim: Optim
) -> None:
    one = _train(_Double(), files, ALONE, optim)
    ranks = ranks_of(count)
    networks = [_Double() for _ in ranks]
    for network, rank in zip(networks, ranks, strict=True):
        share(network, rank)
    works = [partial(_train, n, files, r, optim) for n, r in zip(networks, ranks, strict=True)]
    results = in_threads(works, ranks)
    assert len(one.losses) == EPOCHS * -(-TRAIN_IMAGES // BATCH)
    for result in results:
        assert result.losses == pytest.approx(one.losses, rel=0, abs=1e-12)
        for name, value in one.state.items():
            torch.testing.assert_close(result.state[name], value, rtol=0, atol=1e-12)
            assert torch.equal(result.state[name], results[0].state[name]), "replicas differ"
        assert result.ids == one.ids
        assert result.trained.accuracy == one.trained.accuracy
        assert result.trained.images == one.trained.images == EPOCHS * TRAIN_IMAGES
        assert result.evaluated is not None and one.evaluated is not None
        assert result.evaluated.images == TEST_IMAGES
        assert result.evaluated.accuracy == one.evaluated.accuracy
        assert result.evaluated.loss == pytest.approx(one.evaluated.loss, rel=1e-6)


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_at_the_same_step() -> None:
    ranks = ranks_of(2)
    networks = [ResNet(VARIANT, 4) for _ in ranks]

    def work(number: int) -> tuple[int, float] | None:
        step = TrainingStep(networks[number], Optim(), CPU, ranks=ranks[number])
        for at in range(4):
            images = torch.rand(4, 3, 32, 32)
            if (at, number) == (2, 1):
                images[0] = float("inf")
            batch = Batch(images, torch.arange(4))
            step(batch, Rates(0.1, 0.9), at, images=8)
        return step.first_bad_step()

    results = in_threads([partial(work, 0), partial(work, 1)], ranks)
    assert [result[0] for result in results if result is not None] == [2, 2]


def test_recorded_steps_of_ranks_are_the_eager_ones(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(files, blocks=(1, 1), widths=(4,))
    eager = _states(config, 16)
    with monkeypatch.context() as patch:
        recording_device.install(patch)
        patch.setattr(replay, "recorder_for", lambda machine: recording_device.FakeRecorder())
        recorded = _states(config, 16)
    for ours, theirs in zip(recorded, eager, strict=True):
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=0, atol=0)


def _config(files: Files, **model: object) -> Config:
    base = Config()
    content = {name: dict(vars(section)) for name, section in vars(base).items()}
    content["model"] |= {"name": None} | model
    content["data"] |= {"train": str(files.train), "test": str(files.test)}
    content["train"] |= {"batch_size": 22, "epochs": 4}  # the last batch: 9 images
    content["runtime"] |= {"precision": "fp32", "device": "cpu", "threads": 1}
    return from_dict(content)


def _states(config: Config, steps: int) -> list[dict[str, Tensor]]:
    """The states of two ranks after some steps, in which they are compared."""
    ranks = ranks_of(2)
    sets = [open_sets(config, CPU.device, rank.number, 2) for rank in ranks]
    states = [State(config, CPU, each, ranks=rank) for each, rank in zip(sets, ranks, strict=True)]

    def work(state: State) -> dict[str, Tensor]:
        while state.counters.step < steps:
            for batch in state.epoch(state.counters.epoch):
                state.advance(batch)
            state.compare()
            state.end_epoch(None)
        tensors, _ = state.snapshot("")
        return {name: tensor.clone() for name, tensor in tensors().items()}

    return in_threads([partial(work, state) for state in states], ranks)


@pytest.mark.parametrize(("batch", "ranks", "part"), [(25, 2, "25 images"), (24, 4, "of 3 for 4")])
def test_batches_that_cannot_be_shared_are_refused(
    files: Files, batch: int, ranks: int, part: str
) -> None:
    config = _config(files, blocks=(1, 1), widths=(4,))
    content = {name: dict(vars(section)) for name, section in vars(config).items()}
    content["train"]["batch_size"] = batch
    with pytest.raises(UserError, match=part):
        open_sets(from_dict(content), CPU.device, 0, ranks)
