"""The engine's own step, fed by its own loader: what `engine.train` does between two epochs.

The one file of the benchmarks that knows how a step of the engine is made.
"""

from __future__ import annotations

import gc
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.step.peers import LR, MOMENTUM, WEIGHT_DECAY, Workload
from engine.config.schema import Config, Data, Model, Optim, Run, Runtime, Train
from engine.data.loader import Batch
from engine.data.sets import open_sets
from engine.model import budget, resolve
from engine.runs.state import State
from engine.step import device as devices

BEFORE_THE_LAST = 3  # a warm-up starts with these whole batches, then the short one
WARM_UP = {"cpu": BEFORE_THE_LAST + 3, "cuda": 14}


class Ours:
    """`auto` settings unless `runtime` says otherwise: what users get."""

    name = "ours"

    def __init__(self, workload: Workload, runtime: Runtime | None = None, cache: str = "") -> None:
        began = time.perf_counter()
        self.workload = workload
        self.config = _config(workload, runtime or Runtime(), cache)
        self.machine = devices.prepare(self.config.runtime, Path(cache) if cache else None)
        self.device = self.machine.device
        self.warm_up = WARM_UP[self.device.type]
        self.sets = open_sets(self.config, self.device)
        self.prepare_seconds = time.perf_counter() - began  # includes reading and checking the data
        self.state = State(self.config, self.machine, self.sets)
        skipped = max(0, len(self.sets.train) - 1 - BEFORE_THE_LAST)
        self.state.counters.step_in_epoch = skipped
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
        return len(batch.labels)

    def close(self) -> None:
        """Free the network and the data."""
        self.state.close()
        del self.state, self._batches
        gc.collect()  # reference cycles hold the rest
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _feed(self) -> Iterator[Batch]:
        """Epochs one after the other, of the first only the end, where its short batch is."""
        skip = self.state.counters.step_in_epoch
        for number in itertools.count():
            yield from self.state.epoch(number, skip=0 if number else skip)


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
