"""When checkpoints are due: by epochs, steps and seconds, alike on all ranks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from engine import train
from engine.config.schema import Checkpoint
from engine.data.loader import Batch
from engine.errors import run_command
from engine.runs import checkpoint
from engine.runs.counters import Counters
from engine.runs.saving import SECONDS_APART_ON_A_GPU, Saving
from engine.runs.state import State
from engine.step.device import Machine
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means
from tests.support.data import Files
from tests.support.dying import Died
from tests.support.ranks import in_threads, ranks_of
from tests.support.runs import exact_flags, outcome

CPU = Machine(torch.device("cpu"), "fp32", compile=False)
GPU = Machine(torch.device("cuda", 0), "bf16", compile=True)


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _epochs(
    settings: Checkpoint, machine: Machine, seconds: float, ranks: Ranks = ALONE, epochs: int = 8
) -> list[int]:
    """The epochs, of so many seconds each, after which a checkpoint is due."""
    clock = Clock()
    saving = Saving(settings, machine, ranks, clock)
    due = []
    for epoch in range(1, epochs + 1):
        clock.now += seconds
        if saving.after_epoch(Counters(epoch=epoch), epochs, None)[0]:
            due.append(epoch)
    return due


def test_on_a_cpu_every_epoch_is_saved_and_on_a_gpu_not_sooner_than_some_seconds() -> None:
    always = [1, 2, 3, 4, 5, 6, 7, 8]
    assert _epochs(Checkpoint(), CPU, 0.1) == always
    assert _epochs(Checkpoint(), GPU, 1.0) == [8]
    assert _epochs(Checkpoint(), GPU, SECONDS_APART_ON_A_GPU / 3) == [3, 6, 8]
    assert _epochs(Checkpoint(), GPU, SECONDS_APART_ON_A_GPU) == always
    assert _epochs(Checkpoint(seconds_apart=0), GPU, 0.1) == always
    assert _epochs(Checkpoint(seconds_apart=25), CPU, 10) == [3, 6, 8]
    assert _epochs(Checkpoint(seconds_apart=25, every_epochs=2), CPU, 10) == [4, 8]
    assert _epochs(Checkpoint(every_epochs=0), CPU, 10) == [8]


def test_steps_and_epochs_are_saved_apart_from_each_other() -> None:
    clock = Clock()
    saving = Saving(Checkpoint(every_steps=2, seconds_apart=10), CPU, ALONE, clock)
    assert [saving.after_step(Counters(step=step)) for step in (1, 2)] == [False, False]
    clock.now += 10
    assert [saving.after_step(Counters(step=step)) for step in (3, 4, 6)] == [False, True, False]
    assert not saving.after_epoch(Counters(epoch=1), 3, None)[0]
    clock.now += 10
    assert saving.after_epoch(Counters(epoch=2), 3, None)[0]
    assert saving.after_epoch(Counters(epoch=3), 3, None)[0]


def test_the_best_weights_are_kept_whenever_they_are_the_best() -> None:
    saving = Saving(Checkpoint(best=True, seconds_apart=1000), CPU, ALONE, Clock())
    means = Means(1, 0.5, 0.5)
    assert saving.after_epoch(Counters(epoch=2, best_epoch=2), 9, means) == (False, True)
    assert saving.after_epoch(Counters(epoch=3, best_epoch=2), 9, means) == (False, False)


def test_ranks_with_clocks_of_their_own_agree() -> None:
    ranks = ranks_of(3)
    works = [
        partial(_epochs, Checkpoint(seconds_apart=25), CPU, seconds, rank)
        for seconds, rank in zip((9.0, 10.0, 12.9), ranks, strict=True)
    ]
    assert in_threads(works, ranks) == [[2, 4, 6, 8]] * 3


@pytest.mark.parametrize("best", [[], ["--checkpoint.best", "--data.validation", "11"]])
def test_a_run_that_is_killed_between_seldom_checkpoints_ends_in_the_same_bits(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: list[str]
) -> None:
    seldom = ["--checkpoint.seconds_apart", "1000", *best]
    saved: list[int] = []
    real = checkpoint.save

    def save(folder: Path, step: int, *rest: object) -> Path:
        saved.append(step)
        return real(folder, step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", save)
    whole, parts = (
        [*exact_flags(files, tmp_path / name, 3, 32), *seldom] for name in ("whole", "parts")
    )
    assert run_command(train.main, whole) == 0
    (steps,) = saved  # after the last
    advance = State.advance

    def dying(state: State, batch: Batch) -> None:
        if state.counters.step == steps - 1:
            raise Died
        advance(state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(State, "advance", dying)
        with pytest.raises(Died):
            run_command(train.main, parts)
    assert run_command(train.main, parts) == 0
    assert saved == [steps, steps]
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
