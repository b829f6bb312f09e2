"""One run on disk and on the screen: everything about it that is not training itself."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import atomic, seal
from engine.config.fingerprint import fingerprint
from engine.config.schema import Config
from engine.data.sets import DataSets
from engine.errors import RESUMABLE, RunFailed, UserError
from engine.model import describe, resolve
from engine.optim.stages import steps_of
from engine.runs import checkpoint, console, environment, records
from engine.runs.background import BackgroundWriter
from engine.runs.best_weights import BestWeights
from engine.runs.checkpoint import Saved
from engine.runs.counters import Counters
from engine.runs.directory import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    OWN_DIGEST,
    RUNNING,
    LockLost,
    RunFolder,
)
from engine.runs.initial_weights import InitialWeights
from engine.runs.log import Log
from engine.runs.progress import Progress
from engine.runs.saving import Saving
from engine.runs.state import State
from engine.runs.tensorboard import Board
from engine.runs.work import work_of
from engine.step.device import PRECISIONS, Machine
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means


class Run:
    """While entered, the run's folder is locked and its record is kept up to date."""

    def __init__(
        self,
        config: Config,
        label: str,
        machine: Machine,
        sets: DataSets,
        weights: InitialWeights | None,
        *,
        quiet: bool,
        ranks: Ranks = ALONE,
    ) -> None:
        loaded = {} if weights is None else {"weights": weights.sha256}
        identity = fingerprint(config, sets.digests | loaded)
        name = config.run.name or f"{label}-s{config.train.seed}-{identity[:8]}"
        self.folder = RunFolder(Path(config.run.root) / name)
        self.machine = machine  # `is_finished` may change it to that of the run's first session
        self._config, self._sets, self._ranks = config, sets, ranks
        self._identity = identity
        per_epoch = len(sets.train)
        steps = per_epoch, steps_of(config, per_epoch)
        self._progress = Progress(config.train.epochs, *steps, sets.train.samples_of_all, quiet)
        self._board = Board(None)
        self._writer = BackgroundWriter(threaded=False)
        self._log = Log(self.folder.log)
        best = config.checkpoint.best
        self._best = BestWeights(self.folder.best_weights) if best else None
        self._state: State | None = None
        self._saving = Saving(config.checkpoint, machine, ranks)
        self._saved: Saved | None = None  # the newest checkpoint, from `continues` to `resume`
        self._damaged: list[str] = []  # what is wrong with others
        self._saved_step: int | None = None
        self._work = work_of(
            config, sets.train.samples_of_all, classes=len(sets.classes), side=sets.side
        )
        design = describe(resolve(config.model), len(sets.classes), side=sets.side)
        self._starts_from = "" if weights is None else weights.text()
        self._record = records.begin(config, identity, design, sets, machine, weights, ranks.count)

    def __enter__(self) -> Run:
        self.folder.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._progress.close()
        self._board.close()
        if error is not None:  # a failing writer must not replace it
            with contextlib.suppress(BaseException):
                self._writer.wait()
        try:
            if isinstance(error, RunFailed):
                saved = checkpoint.newest_step(self.folder.checkpoints)
                good = "none" if saved is None else f"step {saved:,}"
                error = RunFailed(f"{error}; last good checkpoint: {good}")
            if error is not None and self._state is not None:
                text = str(error) if isinstance(error, RunFailed) else repr(error)
                with contextlib.suppress(LockLost):  # then it is another's folder
                    self._write_record(FAILED, error=text)
            if isinstance(error, RunFailed):
                raise error from None
        finally:
            self.folder.__exit__(kind, error, trace)
            if self._state is not None:
                self._state.close()

    def clear(self) -> None:
        """Delete what the run wrote before."""
        self.folder.clear()

    def is_finished(self) -> bool:
        """Whether there is nothing left to do; a folder of another run is refused."""
        before = self.refuse_another()
        if before is None:
            return False
        if before["status"] != FINISHED:
            self._saved_step = before.get("saved_step")
            self._continue_as(before)
            return False
        self._progress.say("this run is already finished; repeat it with: --fresh")
        print(console.result(self.folder.path, before))
        return True

    def refuse_another(self) -> dict[str, Any] | None:
        """The record of the run so far; a folder of another run is refused."""
        before = self.folder.read_record()
        if before is not None:
            records.refuse_another(before, self.folder.path, self._record)
        return before

    def continues(self) -> bool:
        """Whether there is a checkpoint, which `resume` restores."""
        self._saved = checkpoint.newest_valid(
            self.folder.checkpoints, self._damaged.append, self._identity
        )
        return self._saved is not None

    def resume(self, state: State) -> None:
        """Restore the checkpoint that `continues` found, cut the log to it, begin the record."""
        for warning in self._sets.warnings:
            self._progress.warn(f"warning: {warning}")
        petaflops = self._work.total / 1e15
        console.opening(self._progress.say, self.folder.path, self._record, self._sets, petaflops)
        if self._starts_from:
            self._progress.say(self._starts_from)
        for problem in self._damaged:
            self._progress.warn(problem)
        saved, self._saved = self._saved, None
        if saved is None and self._saved_step is not None:
            raise UserError(
                f"{self.folder.checkpoints}: this run was saved at step {self._saved_step:,}, but "
                "its checkpoints are missing; start over with: --fresh"
            )
        if saved is not None:
            state.restore(saved)
            self._saved_step = state.counters.step
            done = state.counters
            steps = state.steps_of_epoch(done.epoch)
            place = f"step {done.step_in_epoch} of {steps} in epoch {done.epoch + 1}"
            if done.epoch == state.epochs:
                place = "the last"
            self._progress.say(f"continuing after step {done.step:,} ({place})")
        if self._best is not None:
            tensors = {} if saved is None else saved.tensors
            self._best.restore(tensors, state.counters.best_epoch)
        lines = [] if saved is None else saved.facts.get("log")
        self._log.restore(lines, state.counters.epoch, self._progress.warn)
        atomic.write_json(self.folder.config, self._record["config"])
        atomic.write_json(self.folder.environment, environment.describe(self.machine))
        if self._config.run.tensorboard:
            self._board = Board(self.folder.path / "tensorboard")
        self._state = state
        self._writer = BackgroundWriter(threaded=state.copies_in_background)
        self._write_record(RUNNING)

    def end_step(self, state: State) -> None:
        """After each step: move the bar, save where a checkpoint is due within the epoch."""
        counters = state.counters
        self._progress.step(counters.epoch, counters.step_in_epoch)
        if self._saving.after_step(counters):
            with state.paused(wait=not state.copies_in_background):
                self._writer.do(self._saver(state))

    def end_epoch(self, state: State, evaluated: Means | None) -> None:
        """Log the epoch; save where a checkpoint is due. Waits for the device, once per epoch."""
        sets = self._sets
        trained = state.end_epoch(None if evaluated is None else evaluated.accuracy)
        counters = state.counters
        rate = state.rates(counters.step - 1).lr
        line: dict[str, Any] = {
            "epoch": counters.epoch,
            "step": counters.step,
            "training_flops": self._work.until(counters.step),
            "lr": rate,
            "train_loss": trained.loss,
            "train_accuracy": trained.accuracy,
        }
        if evaluated is not None:
            kind = "validation" if sets.validated else "test"
            line |= {f"{kind}_loss": evaluated.loss, f"{kind}_accuracy": evaluated.accuracy}
        line |= {
            "sample_trace": counters.trace,
            "images_per_second": counters.speeds[-1],
            "seconds": round(counters.seconds, 3),
        }
        self._board.add(counters.step, {k: v for k, v in line.items() if isinstance(v, float)})
        epochs = self._config.train.epochs
        self._progress.epoch(console.epoch_line(line, epochs), console.short_line(line))
        due, best = self._saving.after_epoch(counters, state.epochs, evaluated)
        append = self._log.add(line)
        save = self._saver(state, due=due, best=best) if due or best else None

        def write() -> None:  # in one task, so that files always change in the same order
            self.folder.keep()
            append()
            if save is not None:
                save()

        self._writer.do(write)

    def interrupt(self, state: State) -> int:
        """Save the exact step and print how to continue; returns the exit code."""
        with state.paused():
            self._writer.do(self._saver(state))
        self._writer.wait()
        self._write_record(INTERRUPTED)
        self._progress.say(
            f"stopped after step {state.counters.step:,}; the same command continues from there"
        )
        return RESUMABLE

    def finish(self, state: State, tested: Means | None, viewed: Means | None) -> None:
        """Write the weights and, last of all, the record of a finished run.

        The last epoch was `tested` apart where its evaluation was on validation images, and
        `viewed` with test-time augmentation where there is some.
        """
        self._writer.wait()
        self.folder.keep()
        state.refuse_infinite()
        last = self._log.last()
        result = {key: last[key] for key in last if key.endswith(("_loss", "_accuracy"))}
        if tested is not None:  # with a validation split this is the one time that it is read
            result |= {"test_loss": tested.loss, "test_accuracy": tested.accuracy}
        if viewed is not None:
            tta = self._config.train.tta
            result |= {f"test_loss_{tta}": viewed.loss, f"test_accuracy_{tta}": viewed.accuracy}
        weights = checkpoint.pack(state.network.state_dict())
        atomic.write_bytes(self.folder.weights, weights)
        result["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        if self._best is not None:
            result |= self._best.tested(
                state.network, self._sets.test, self.machine, state.counters, self._ranks
            )
        record = self._write_record(FINISHED, **result)
        self._progress.close()
        print(console.result(self.folder.path, record), flush=True)
        self._progress.say(console.next_steps(self.folder.path))

    def _saver(self, state: State, *, due: bool = True, best: bool = False) -> Callable[[], None]:
        """Writes a checkpoint if one is `due`, and the weights if they are the `best` so far."""
        self._writer.wait()  # so that there is one copy at a time
        tensors, facts = state.snapshot(self._identity)
        counters = copy.deepcopy(state.counters)
        facts["log"] = self._log.lines

        def write() -> None:
            content = dict(tensors())
            self.folder.keep()
            if self._best is not None:
                if best:
                    self._best.keep(content)
                content |= self._best.for_checkpoint()
            if not due:
                return
            checkpoint.save(self.folder.checkpoints, counters.step, content, facts)
            checkpoint.prune(self.folder.checkpoints, self._config.checkpoint.keep)
            self._saved_step = counters.step
            self._write_record(RUNNING, counters)

        return write

    def _continue_as(self, before: dict[str, Any]) -> None:
        """Continue in the precision that `auto` was in the first session; warn of other changes."""
        if self._config.runtime.precision == "auto" and before.get("precision") in PRECISIONS:
            self.machine = dataclasses.replace(self.machine, precision=before["precision"])
        for key in ("device", "precision", "compiled"):
            now = {"precision": self.machine.precision}.get(key, self._record[key])
            if before.get(key) != now:
                self._progress.warn(
                    f"warning: {key} was {before.get(key)} when this run began and is {now} now: "
                    "same samples, but results will differ in rounding"
                )
        self._record["precision"] = self.machine.precision
        count, now = before.get("ranks", 1), self._ranks.count
        if count != now:
            self._progress.warn(
                f"warning: {count} ranks began this run and {now} continue it: same samples, but "
                "results will differ in rounding"
            )

    def _write_record(
        self, status: str, counters: Counters | None = None, **more: Any
    ) -> dict[str, Any]:
        """Write the record with `counters`, by default those of now."""
        assert self._state is not None
        self.folder.keep()
        counters = self._state.counters if counters is None else counters
        record = records.updated(self._record, status, counters, self._work)
        record = seal.sealed(record | {"saved_step": self._saved_step} | more, OWN_DIGEST)
        atomic.write_json(self.folder.record, record)
        return record
