"""Train one network: `python -m engine.train --config-file configs/quickstart.yaml`.

`train` shows the whole life of a run. The same command continues an interrupted run at the
exact step, and does not repeat a finished one.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take seconds
    from engine import signals

    signals.listen_early()

import sys
from collections.abc import Sequence
from functools import partial

from engine import output, show
from engine.config import checks, options
from engine.config.fields import Check
from engine.config.schema import Config
from engine.data.sets import DataSets, open_sets
from engine.errors import OK, UserError, run_command
from engine.model import problems
from engine.runs import compatibility, console, initial_weights
from engine.runs.follower import open_run
from engine.runs.initial_weights import InitialWeights
from engine.runs.run import Run
from engine.runs.state import State
from engine.runs.work import work_of
from engine.signals import Stop
from engine.step import device, profile
from engine.step.device import Machine
from engine.step.evaluation import evaluate
from engine.step.ranks import ALONE, Ranks, started, together
from engine.step.views import NONE

PROGRAM = "python -m engine.train"
SUMMARY = "Train one network on a .beton data set; the same command continues where it stopped."
NETWORK = Check[Config](("model.",), lambda config: problems(config.model))


def main(argv: Sequence[str]) -> int:
    """The command: train, or show, try or profile what would be trained."""
    parsed = options.read(
        Config,
        argv,
        program=PROGRAM,
        summary=SUMMARY,
        flags=show.FLAGS,
        checks=() if show.lists(argv) else (*checks.TRAINING, NETWORK),
    )
    if show.requested(parsed.flags):
        return show.show(parsed)
    config, flags = parsed.config, parsed.flags
    label = parsed.files[-1].stem if parsed.files else config.model.name or "run"
    with Stop() as stop:
        if "profile" in flags:
            return profile_steps(config, label, stop)
        fresh, quiet = "fresh" in flags, "quiet" in flags

        def work(ranks: Ranks) -> int:
            if "dry-run" in flags:
                return dry_run(config, stop, ranks)
            with output.dropping("stdout"):
                return train(config, label, stop, fresh=fresh, quiet=quiet, ranks=ranks)

        return together(work, on_cpu=device.is_cpu(config.runtime))


def train(
    config: Config,
    label: str,
    stop: Stop,
    *,
    fresh: bool = False,
    quiet: bool = False,
    ranks: Ranks = ALONE,
) -> int:
    """Train from the newest checkpoint or the beginning to the end; returns the exit code."""
    machine, sets, weights = prepare(config, ranks=ranks)
    with open_run(config, label, machine, sets, weights, ranks, quiet=quiet) as run:
        if fresh:
            run.clear()
        if run.is_finished():
            return OK
        machine = run.machine  # a continued run keeps the precision of its first session
        state = State(config, machine, sets, weights, ranks, continues=run.continues())
        run.resume(state)
        for epoch in range(state.counters.epoch, state.epochs):
            for batch in state.epoch(epoch, skip=state.counters.step_in_epoch):
                if ranks.any_at(state.counters.step, stop.requested):
                    return run.interrupt(state)
                state.advance(batch)  # nothing here waits for a GPU
                run.end_step(state)
            with state.paused():  # waits for the device; a loss that is not finite ends the run
                means, last = None, epoch + 1 == state.epochs
                if last or (epoch + 1) % config.train.evaluate_every == 0:
                    with state.averaged():
                        graphs = state.evaluations
                        means = evaluate(
                            state.network, sets.watched, machine, stop, graphs, ranks=ranks
                        )
                if ranks.any(stop.requested):  # first: the evaluation may have been cut short
                    return run.interrupt(state)
                run.end_epoch(state, means)
        with state.averaged():
            # With a validation split the test set is read here, once.
            final = partial(evaluate, state.network, sets.test, machine, ranks=ranks)
            tested = final() if sets.validated else None
            tta = config.train.tta
            viewed = final(tta=tta) if tta != NONE else None
            run.finish(state, tested, viewed)
    return OK


def dry_run(config: Config, stop: Stop, ranks: Ranks = ALONE) -> int:
    """Check the data and make two steps; nothing is written."""
    machine, sets, weights = prepare(config, keep=False, ranks=ranks)
    if ranks.number == 0:
        for warning in sets.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    state = State(config, machine, sets, weights, ranks)
    for _, batch in zip(range(2), state.epoch(0), strict=False):
        if stop.requested:
            raise KeyboardInterrupt
        state.advance(batch)
    state.check()
    if ranks.number > 0:
        return OK
    if weights is not None:
        print(weights.text())
    print(console.dry_run(config, machine.name(), sets, state.step.totals.read()))
    return OK


def profile_steps(config: Config, label: str, stop: Stop) -> int:
    """Make some steps and write to the run's folder where their time went; no run is begun."""
    if started():
        raise UserError("--profile: of one process alone; start it without torchrun")
    machine, sets, weights = prepare(config)
    with Run(config, label, machine, sets, weights, quiet=True) as run:
        run.refuse_another()
        state = State(config, machine, sets, weights)
        batches = profile.feeding(state.epoch)
        work = work_of(config, sets.train.samples, classes=len(sets.classes), side=sets.side)
        cost = work.stages[0][1]  # of the first steps, which are these

        def advance() -> int:
            if stop.requested:
                raise KeyboardInterrupt
            batch = next(batches)
            state.advance(batch)
            if state.counters.step_in_epoch == state.steps_of_epoch(state.counters.epoch):
                state.counters.end_epoch(None, sets.train.samples)
            return len(batch.labels)

        folder = run.folder.path / "profile"
        result = profile.profile(advance, machine, cost, folder)
        print(f"{profile.table(result)}\nwritten to {folder}")
    return OK


def prepare(
    config: Config, *, keep: bool = True, ranks: Ranks = ALONE
) -> tuple[Machine, DataSets, InitialWeights | None]:
    """The device, the checked data and the weights to start from, with the network checked.

    Unless `keep` is false, measurements and compiled code are kept for the next run.
    """
    sets = open_sets(config, device.select(config.runtime, ranks), ranks.number, ranks.count)
    images = sets.train.samples_of_all
    wrong = list(compatibility.problems(config, len(sets.classes), sets.side, images))
    if wrong:
        raise UserError(*(f"{key}: {message}" for key, message in wrong))
    weights = initial_weights.read(config.model, len(sets.classes), sets.side)
    cache = device.cache_folder(config) if keep else None
    machine = device.prepare(config.runtime, cache, ranks)
    return machine, sets, weights


if __name__ == "__main__":
    raise SystemExit(run_command(main))
