"""Many steps over batches, eager or as recorded work makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch

from engine.data.loader import Batch
from engine.optim.optimizer import DeviceRates
from engine.optim.schedules import Rates
from engine.step.replay import RecordedWork
from engine.step.training import TrainingStep
from tests.support.recording_device import FakeRecorder, install

Numbered = Callable[[int], None]  # called with the number of a step, from 0


def nothing(number: int) -> None:
    """By default before and after a step."""


def eager(
    step: TrainingStep,
    batches: Iterable[Batch],
    rates: Rates,
    before: Numbered = nothing,
    after: Numbered = nothing,
) -> None:
    """One step after another."""
    for number, batch in enumerate(batches):
        before(number)
        step(batch, rates, number)
        after(number)


def recorded(
    step: TrainingStep,
    batches: Iterable[Batch],
    rates: Rates,
    before: Numbered = nothing,
    after: Numbered = nothing,
) -> FakeRecorder:
    """As a graph makes them: rates and number on the device, the batch in memory that stays."""
    batches = list(batches)
    memory = Batch(*(torch.zeros_like(each) for each in batches[0]))
    on_device = DeviceRates(*(torch.tensor(each, dtype=torch.float64) for each in rates))
    at = torch.zeros((), dtype=torch.int64)

    def work() -> None:
        step.queue(memory, on_device, at)
        at.add_(1)

    with pytest.MonkeyPatch.context() as patch:
        recorder = install(patch)
        replayed = RecordedWork(recorder, work)
        for number, batch in enumerate(batches):
            for held, each in zip(memory, batch, strict=True):
                held.copy_(each)
            step.begin()
            before(number)
            replayed()
            after(number)
    return recorder
