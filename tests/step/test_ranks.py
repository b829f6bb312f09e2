"""Several ranks compute what one process does with the whole batch."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

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
from engine.step.mixing import mixed
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means, Mix
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


class _DoubleResNet(ResNet):
    """A network of a run that computes in float64."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double())


def _mixed_by_rank(images: Tensor, labels: Tensor, row: Tensor) -> tuple[Tensor, Mix]:
    """The pairs of two ranks in their whole batch."""
    whole, others = torch.empty_like(images), torch.empty_like(labels)
    for rank in range(2):
        whole[rank::2], mix = mixed(images[rank::2], labels[rank::2], row)
        others[rank::2] = mix.labels
    return whole, Mix(others, mix.share)


def test_stages_frozen_layers_whitening_mixing_and_averages_are_those_of_one_process(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runs.state.ResNet", _DoubleResNet)
    stem = {"stem": "whiten", "stem_kernel": 2, "transition": "pool"}
    config = _config(files, blocks=(1, 1), widths=(4, 6), **stem)
    content = {name: dict(vars(section)) for name, section in vars(config).items()}
    content["train"] |= {"epochs": 3.5, "label_smoothing": 0.2}  # 14 steps
    content["train"] |= {"freeze_layers": 1, "freeze_from": 0.7}
    content["augment"] |= {"sizes": (20, 28), "sizes_until": (0.3, 0.6), "mixup": 0.5, "cutmix": 1}
    content["optim"] |= {"name": "muon", "stem_bias_epochs": 0.6, "ema_decay": 0.7, "lr": 0.02}
    content["optim"] |= {"lookahead_k": 2, "lookahead_buffers": True}
    config = from_dict(content)
    ranks = ranks_of(2)
    states = [
        State(config, CPU, open_sets(config, CPU.device, rank.number, 2), ranks=rank)
        for rank in ranks
    ]
    one = State(config, CPU, open_sets(config, CPU.device))
    results = in_threads(
        [partial(_whole_run, config, *each) for each in zip(states, ranks, strict=True)], ranks
    )
    monkeypatch.setattr("engine.step.training.mixed", _mixed_by_rank)
    tensors, trained, evaluated = _whole_run(config, one, ALONE)
    assert one.counters.step == 14 and len(trained) == 4
    assert len({one.stage(number) for number in range(14)}) == 5
    for theirs in results:
        assert theirs[0].keys() == tensors.keys()
        for name, value in tensors.items():
            torch.testing.assert_close(theirs[0][name], value, rtol=0, atol=1e-12)
            assert torch.equal(theirs[0][name], results[0][0][name]), "replicas differ"
        for ours, other in zip(trained, theirs[1], strict=True):
            assert (other.images, other.accuracy) == (ours.images, ours.accuracy)
            assert other.loss == pytest.approx(ours.loss, rel=0, abs=1e-12)
        assert (theirs[2].images, theirs[2].accuracy) == (TEST_IMAGES, evaluated.accuracy)
    for state in states:
        assert state.counters.trace == one.counters.trace


def _whole_run(
    config: Config, state: State, ranks: Ranks
) -> tuple[dict[str, Tensor], list[Means], Means]:
    """The state at the end, the means of each epoch, and of the test set."""
    trained = []
    for epoch in range(state.epochs):
        for batch in state.epoch(epoch):
            state.advance(batch)
        trained.append(state.end_epoch(None))
    state.compare()
    tensors, _ = state.snapshot("", compared=False)
    test = open_sets(config, CPU.device, ranks.number, ranks.count).test
    with state.averaged():
        evaluated = evaluate(state.network, test, CPU, ranks=ranks)
    assert evaluated is not None
    return {name: tensor.clone() for name, tensor in tensors().items()}, trained, evaluated


@pytest.mark.parametrize(("batch", "ranks", "part"), [(25, 2, "25 images"), (24, 4, "of 3 for 4")])
def test_batches_that_cannot_be_shared_are_refused(
    files: Files, batch: int, ranks: int, part: str
) -> None:
    config = _config(files, blocks=(1, 1), widths=(4,))
    content = {name: dict(vars(section)) for name, section in vars(config).items()}
    content["train"]["batch_size"] = batch
    with pytest.raises(UserError, match=part):
        open_sets(from_dict(content), CPU.device, 0, ranks)
