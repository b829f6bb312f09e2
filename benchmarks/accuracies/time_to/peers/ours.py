"""Our engine by any configuration, trained as `engine.train` does, with the clock of all peers.

The clock begins with the pixels in memory: it holds the making of the network, its whitening
filters and the augmentation. Beforehand the whole recipe is run shrunk to a few steps, so that each
size of images has had its turn; on a GPU the recording of the graphs still counts.
"""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracies.time_to.peers import Outcome, Stopwatch, Task, View, is_evaluated
from engine import train as command
from engine.config import checks, options
from engine.config.fingerprint import fingerprint
from engine.config.schema import Config, as_dict
from engine.data.beton import open_beton
from engine.data.sets import DataSets
from engine.model import budget, resolve
from engine.runs.state import State
from engine.runs.work import VIEWS, work_of
from engine.step.device import Machine
from engine.step.evaluation import evaluate
from engine.step.views import NONE, SIX

WARM_UP_STEPS = 12


def run(task: Task) -> Outcome:
    """Train it once, after a warm-up of the same process."""
    config = read(task)
    machine, sets, weights = command.prepare(config)
    variant = resolve(config.model)
    parts = [machine.precision, "channels_last" if machine.channels_last else "NCHW"]
    parts += ["compiled"] if machine.compile else []
    parts += ["graphed"] if machine.graph else []
    outcome = Outcome(
        ", ".join(parts),
        machine.precision,
        config.train.batch_size,
        budget.parameters(variant, len(sets.classes), side=sets.side).total,
        facts={"config": as_dict(config), "fingerprint": fingerprint(config, sets.digests)},
    )
    _warm_up(config, machine, sets)
    watch = Stopwatch(machine.wait)
    state = State(config, machine, sets, weights)
    _train(task, config, state, sets, machine, watch, outcome)
    return outcome


def read(task: Task) -> Config:
    """The configuration of a task."""
    flags = [
        *("--data.train", task.train, "--data.test", str(task.test)),
        *("--runtime.device", task.device, "--runtime.threads", str(task.threads)),
        *("--train.seed", str(task.seed)),
    ]
    flags += ["--runtime.cache", task.cache] if task.cache else []
    flags += ["--train.epochs", f"{task.epochs:g}"] if task.epochs else []
    return options.read(
        Config,
        [*task.words, *flags],
        program=command.PROGRAM,
        summary=command.SUMMARY,
        checks=(*checks.TRAINING, command.NETWORK),
    ).config


def planned_petaflops(config: Config, train: Path) -> float:
    """The work of the whole run, training alone, from the file's header."""
    beton = open_beton(train, verify=False)
    work = work_of(config, len(beton), classes=beton.classes, side=beton.height)
    return work.total * 1e-15


def _warm_up(config: Config, machine: Machine, sets: DataSets) -> None:
    """The whole recipe shrunk to a few steps; nothing of it is kept."""
    state = State(_shrunk(config, WARM_UP_STEPS / len(sets.train)), machine, sets)
    for epoch in range(state.epochs):
        for batch in state.epoch(epoch):
            state.advance(batch)
    machine.wait()
    state.close()
    del state
    gc.collect()  # reference cycles hold the rest


def _shrunk(config: Config, epochs: float) -> Config:
    """The recipe with its stages in so many epochs, at most its own."""
    epochs = min(config.train.epochs, epochs)
    stem = config.optim.stem_bias_epochs
    stem = None if stem is None else stem * epochs / config.train.epochs
    return replace(
        config,
        train=replace(config.train, epochs=epochs),
        optim=replace(config.optim, stem_bias_epochs=stem),
    )


def _train(
    task: Task,
    config: Config,
    state: State,
    sets: DataSets,
    machine: Machine,
    watch: Stopwatch,
    outcome: Outcome,
) -> None:
    work = work_of(config, sets.train.samples, classes=len(sets.classes), side=sets.side)
    petaflops = work.total * 1e-15
    outcome.facts["recipe"] = {"epochs": config.train.epochs, "petaflops": petaflops}
    for epoch in range(state.epochs):
        cut = False
        for batch in state.epoch(epoch):
            state.advance(batch)
            if cut := bool(task.most_seconds) and watch.reached(task.most_seconds):
                break
        steps, last = state.counters.step, cut or epoch + 1 == state.epochs
        outcome.steps, outcome.images = steps, work.images_until(steps)
        outcome.epochs, outcome.petaflops = steps / len(sets.train), work.until(steps) * 1e-15
        with watch.paused():
            state.check()
            if last or is_evaluated(epoch + 1, state.epochs):
                view = outcome.views["single"] = _view(config, state, sets, machine, NONE)
                outcome.point(outcome.epochs, watch.seconds, outcome.petaflops, view.accuracy)
            state.end_epoch(None)
        if last:
            break
    outcome.seconds = watch.seconds
    if not task.most_seconds:
        outcome.views[SIX] = _view(config, state, sets, machine, SIX)


def _view(config: Config, state: State, sets: DataSets, machine: Machine, tta: str) -> View:
    """The evaluation of the test set by one view of each image, or by more."""
    began = time.perf_counter()
    graphed = state.evaluations if tta == NONE else None
    with state.averaged():
        means = evaluate(state.network, sets.test, machine, graphed=graphed, tta=tta)
    assert means is not None
    forward = budget.flops(resolve(config.model), len(sets.classes), side=sets.side).forward
    flops = forward * max(1, VIEWS[tta]) * means.images
    return View(means.accuracy, time.perf_counter() - began, flops * 1e-15)
