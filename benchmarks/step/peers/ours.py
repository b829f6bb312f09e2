"""The engine's own step, fed by its own loader: what `engine.train` does between two epochs.

The one file of the benchmarks that knows how a step of the engine is made.
"""

from __future__ import annotations

import gc
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.step.peers import LR, MOMENTUM, WEIGHT_DECAY, Workload
from engine.config.schema import Config, Data, Model, Optim, Run, Runtime, Train
from engine.data.loader import Batch
from engine.data.sets import open_sets
from engine.model import budget, resolve
from engine.runs.state import State
from engine.step import device as devices
from engine.step.replay import WARM_UPS

ENDING = 4  # steps at the end of an epoch: whole batches and the short one
# Epochs of a warm-up, of which only the end is trained: where steps are recorded, until both kinds
# of batches are, so that no turn holds a recording.
ENDINGS = {"cpu": 1, "cuda": WARM_UPS + 1}
NONE: Mapping[str, Any] = {}
USUAL = 2  # steps of a warm-up after these


class Ours:
    """`auto` settings unless `runtime` or `settings` ("data.mode": "stream") say otherwise."""

    name = "ours"

    def __init__(
        self,
        workload: Workload,
        runtime: Runtime | None = None,
        cache: str = "",
        settings: Mapping[str, Any] = NONE,
    ) -> None:
        began = time.perf_counter()
        self.workload = workload
        self.config = with_settings(_config(workload, runtime or Runtime(), cache), settings)
        self.machine = devices.prepare(self.config.runtime, Path(cache) if cache else None)
        self.device = self.machine.device
        self.sets = open_sets(self.config, self.device)
        self.prepare_seconds = time.perf_counter() - began  # includes reading and checking the data
        self.state = State(self.config, self.machine, self.sets)
        self._endings = ENDINGS[self.device.type]
        self.warm_up = self._endings * min(ENDING, len(self.sets.train)) + USUAL
        self.state.counters.step_in_epoch = self._first(0)
        self._batches = self._feed()

    @property
    def setting(self) -> str:
        """What `auto` chose."""
        parts = [self.machine.precision, "channels_last"]
        parts += ["compiled"] if self.machine.compile else []
        parts += ["graphed"] if self.machine.graph else []
        return ", ".join(parts)

    @property
    def flops(self) -> int:
        """Operations per image in training."""
        variant = resolve(self.config.model)
        return budget.flops(variant, len(self.sets.classes), side=self.sets.side).training

    def step(self) -> int:
        """Feed and make one step."""
        batch = next(self._batches)
        self.state.advance(batch)
        counters = self.state.counters
        if counters.step_in_epoch == len(self.sets.train):
            counters.end_epoch(None, self.sets.train.samples)
            counters.step_in_epoch = self._first(counters.epoch)
        return len(batch.labels)

    def close(self) -> None:
        """Free the network and the data."""
        self.state.close()
        del self.state, self._batches
        gc.collect()  # reference cycles hold the rest
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _feed(self) -> Iterator[Batch]:
        """Epochs one after the other, of the first ones only the end, with their short batch."""
        for number in itertools.count():
            yield from self.state.epoch(number, skip=self._first(number))

    def _first(self, epoch: int) -> int:
        """The first step of an epoch."""
        return max(0, len(self.sets.train) - ENDING) if epoch < self._endings else 0


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """`config` with some of its settings changed, by their names on the command line."""
    for name, value in settings.items():
        section, _, key = name.partition(".")
        changed = replace(getattr(config, section), **{key: value})
        config = replace(config, **{section: changed})
    return config


def _config(workload: Workload, runtime: Runtime, cache: str) -> Config:
    where = replace(runtime, device=workload.device, threads=workload.threads, cache=cache)
    return Config(
        data=Data(train=str(workload.path), test=str(workload.path)),
        model=Model(name=workload.variant, budget=0),
        train=Train(epochs=workload.epochs, batch_size=workload.batch_size),
        optim=Optim(name="sgd", lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        runtime=where,
        run=Run(root=tempfile.gettempdir()),  # nothing is written there
    )
