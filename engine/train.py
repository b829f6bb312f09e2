"""Train one network: `python -m engine.train --config-file configs/quickstart.yaml`.

`train` shows the whole life of a run. The same command continues an interrupted run at the
exact step, and does not repeat a finished one.
"""

from __future__ import annotations

if __name__ == "__main__":  # a signal in the seconds of the imports below is to be heard as well
    from engine import signals

    signals.listen_early()

import sys
from collections.abc import Sequence

from engine import show
from engine.config import checks, options
from engine.config.fields import Check
from engine.config.schema import Config
from engine.data.sets import DataSets, open_sets
from engine.errors import OK, UserError, run_command
from engine.model import budget, problems, resolve
from engine.runs import compatibility, console
from engine.runs.run import Run
from engine.runs.state import State
from engine.signals import Stop
from engine.step import device, profile
from engine.step.device import Machine
from engine.step.evaluation import evaluate

PROGRAM = "python -m engine.train"
SUMMARY = "Train one network on a .beton data set; the same command continues where it stopped."
NETWORK = Check[Config](("model.",), lambda config: problems(config.model))


def main(argv: Sequence[str]) -> int:
    """The command: show something, rehearse, or train."""
    parsed = options.read(
        Config,
        argv,
        program=PROGRAM,
        summary=SUMMARY,
        flags=show.FLAGS,
        checks=() if show.lists(argv) else (*checks.TRAINING, NETWORK),
    )
    if show.asked(parsed.flags):
        return show.show(parsed)
    config, flags = parsed.config, parsed.flags
    label = parsed.files[-1].stem if parsed.files else config.model.name or "run"
    with Stop() as stop:
        if "dry-run" in flags:
            return rehearse(config, stop)
        if "profile" in flags:
            return profiled(config, label, stop)
        return train(config, label, stop, fresh="fresh" in flags, quiet="quiet" in flags)


def train(
    config: Config, label: str, stop: Stop, *, fresh: bool = False, quiet: bool = False
) -> int:
    """Train from wherever the run stands to the end; returns the exit code."""
    machine, sets = prepare(config)
    with Run(config, label, machine, sets, quiet=quiet) as run:
        if fresh:
            run.forget()
        if run.finished():
            return OK
        machine = run.machine  # as the run began
        state = State(config, machine, sets)
        run.resume(state)
        for epoch in range(state.counters.epoch, config.train.epochs):
            ids = state.ids(epoch)
            for batch in state.epoch(epoch, skip=state.counters.step_in_epoch):
                if stop.requested:
                    return run.interrupt(state)
                state.advance(batch, ids)  # nothing here waits for a GPU
                run.stepped(state)
            state.settle()
            watched = None
            if (epoch + 1) % config.train.evaluate_every == 0 or epoch + 1 == config.train.epochs:
                watched = evaluate(state.network, sets.watched, machine, stop, state.evaluations)
                state.spend(training=False)
            if stop.requested:  # before the epoch counts as done: its evaluation may be cut short
                return run.interrupt(state)
            run.end_epoch(state, watched)
        tested = evaluate(state.network, sets.test, machine) if sets.validated else None
        run.finish(state, tested)
    return OK


def rehearse(config: Config, stop: Stop) -> int:
    """Check the data and make two steps; nothing is written."""
    machine, sets = prepare(config, keep=False)
    for doubt in sets.warnings:
        print(f"warning: {doubt}", file=sys.stderr)
    state = State(config, machine, sets)
    ids = state.ids(0)
    for _, batch in zip(range(2), state.epoch(0), strict=False):
        if stop.requested:
            raise KeyboardInterrupt
        state.advance(batch, ids)
    state.check()
    print(console.rehearsal(config, machine.name(), sets, state.step.totals.read()))
    return OK


def profiled(config: Config, label: str, stop: Stop) -> int:
    """Make some steps and write to the run's folder where their time went; no run is begun."""
    machine, sets = prepare(config)
    with Run(config, label, machine, sets, quiet=True) as run:
        run.refuse_another()
        state = State(config, machine, sets)
        batches = profile.feeding(state.epoch)
        cost = budget.flops(resolve(config.model), len(sets.classes), side=sets.side).training
        ids = state.ids(0)

        def advance() -> int:
            if stop.requested:
                raise KeyboardInterrupt
            batch = next(batches)
            state.advance(batch, ids)
            if state.counters.step_in_epoch == len(sets.train):
                state.counters.end_epoch(None, sets.train.samples)
            return len(batch.labels)

        found = profile.profile(advance, machine, cost, run.folder.path / "profile")
        print(f"{profile.table(found)}\nwritten to {run.folder.path / 'profile'}")
    return OK


def prepare(config: Config, *, keep: bool = True) -> tuple[Machine, DataSets]:
    """The device and the checked data, with the network checked against both.

    Unless `keep` is false, what is measured and compiled is kept for the next run.
    """
    sets = open_sets(config, device.select(config.runtime))
    wrong = list(compatibility.problems(config, len(sets.classes), sets.side, sets.train.samples))
    if wrong:
        raise UserError(*(f"{key}: {message}" for key, message in wrong))
    return device.prepare(config.runtime, device.cache_folder(config) if keep else None), sets


if __name__ == "__main__":
    raise SystemExit(run_command(main))
