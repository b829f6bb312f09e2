"""The trainers that are compared: what each step does, and how turns of steps are timed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.step import turns as step_turns
from benchmarks.step.goals import QUICKSTART
from benchmarks.step.peers import Trainer, Workload, reports_loop
from benchmarks.step.peers import ours as peer
from benchmarks.step.peers.ffcv_style import FfcvStyle
from benchmarks.step.peers.ours import Ours
from benchmarks.step.peers.plain_loop import Plain
from benchmarks.step.turns import StepTurns
from engine.config.schema import Runtime
from engine.model import VARIANTS, ResNet
from engine.step.replay import WARM_UPS
from tests.support import recording_device
from tests.support.data import TRAIN_IMAGES, Files

EAGER = Runtime(compile=False, precision="fp32")
BATCH = 16


@pytest.fixture
def workload(files: Files) -> Workload:
    return Workload(QUICKSTART, BATCH, files.train, "cpu", threads=1, epochs=3)


class Clockwork:
    """Steps of known length by a clock of their own: the first is slow, and all have 5 images."""

    name, setting, warm_up = "clockwork", "wound up", 4
    device = torch.device("cpu")
    prepare_seconds = 2.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.steps = 0.0, 0
        monkeypatch.setattr(step_turns.time, "perf_counter", lambda: self.now)

    def step(self) -> int:
        self.steps += 1
        self.now += 10.0 if self.steps == 1 else 0.25
        return 5

    def close(self) -> None:
        self.steps = -1


def test_a_turn_is_whole_steps_and_a_warm_up_is_timed_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clockwork = Clockwork(monkeypatch)

    def make() -> Trainer:
        clockwork.now += 3.0  # of which two are the preparation's
        return clockwork

    turns = StepTurns(make, seconds=1.0)
    assert turns.warm.usual == 0.25
    assert turns.warm.seconds == pytest.approx(1 + 10 + 3 * 0.25)
    assert turns.warm.extra == pytest.approx(1 + 10 - 0.25)
    assert turns() == pytest.approx(20.0)
    assert clockwork.steps == 4 + 4  # four in the warm-up, four make a second
    assert turns.host_seconds() == pytest.approx(0.25)
    turns.close()
    assert clockwork.steps == -1


@pytest.mark.parametrize("kind", [Plain, FfcvStyle])
def test_the_peers_train_the_same_network_on_the_same_images(kind: Any, workload: Workload) -> None:
    torch.manual_seed(0)
    trainer = kind(workload)
    before = [parameter.clone() for parameter in trainer._network.parameters()]
    assert len(before) == len(list(ResNet(VARIANTS[QUICKSTART]).parameters()))
    assert [trainer.step() for _ in range(6)] == [BATCH] * 6
    changed = zip(before, trainer._network.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in changed)
    trainer.close()


def test_the_plain_loop_learns_what_it_is_shown(workload: Workload) -> None:
    torch.manual_seed(0)
    trainer = Plain(workload)
    losses = []
    for _ in range(30):
        before = trainer.loss
        trainer.step()
        losses.append(trainer.loss - before)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert trainer.correct > 30 * BATCH / 2


def test_ours_meets_its_short_batch_first_and_then_whole_epochs(
    workload: Workload,
) -> None:
    trainer = Ours(workload, EAGER)
    short = TRAIN_IMAGES % BATCH
    whole = TRAIN_IMAGES // BATCH
    assert short and whole == 4
    first = [trainer.step() for _ in range(4)]
    assert first == [BATCH, BATCH, BATCH, short]
    assert trainer.state.counters.epoch == 1
    assert [trainer.step() for _ in range(whole + 1)] == [BATCH] * whole + [short]
    assert trainer.state.counters.step_in_epoch == 0
    trainer.close()


def test_whole_and_short_batches_are_recorded_before_the_first_turn(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = recording_device.install(monkeypatch)
    monkeypatch.setitem(peer.ENDINGS, "cpu", peer.ENDINGS["cuda"])
    turns = StepTurns(lambda: Ours(workload, EAGER), seconds=1e-9)
    assert len(recorder.graphs) == 2  # one per size of batch
    for _ in range(2 * (TRAIN_IMAGES // BATCH + 1)):
        turns()
    assert len(recorder.graphs) == 2
    assert set(recorder.warmed.values()) == {WARM_UPS}
    turns.close()


def test_settings_of_ours_are_changed_by_their_names(workload: Workload) -> None:
    settings = {"data.mode": "stream", "augment.autoaugment": True}
    trainer = Ours(workload, EAGER, settings=settings)
    assert trainer.config.data.mode == "stream" and trainer.config.augment.autoaugment
    assert trainer.step() == BATCH
    trainer.close()


def test_the_setting_of_ours_is_what_auto_chose(workload: Workload) -> None:
    trainer = Ours(workload, EAGER)
    assert trainer.setting == "fp32, channels_last"
    assert trainer.flops > 1e6
    trainer.close()


def test_a_plain_loop_has_the_usual_switches_also_after_ours(workload: Workload) -> None:
    ours = Ours(workload, EAGER)
    assert not torch.backends.cudnn.allow_tf32
    ours.close()
    Plain(workload)
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cudnn.benchmark


def test_the_reports_loop_is_timed_epoch_by_epoch(workload: Workload) -> None:
    seconds = reports_loop.epochs(workload, 2, workers=0)
    assert len(seconds) == 2 and all(each > 0 for each in seconds)
