"""A run of several ranks: rank 0 locks, reads, writes and decides, the others follow.

Both make the same calls at the same steps. What rank 0 reads reaches the others as bytes of
safetensors and JSON, so no disk is shared; at every checkpoint all compare their states.
"""

from __future__ import annotations

import dataclasses
import json

import safetensors.torch

from engine.config.schema import Config
from engine.data.sets import DataSets
from engine.errors import RESUMABLE
from engine.model import resolve
from engine.runs import best_weights, checkpoint
from engine.runs.checkpoint import Saved
from engine.runs.initial_weights import InitialWeights
from engine.runs.run import Run
from engine.runs.saving import Saving
from engine.runs.state import State
from engine.step.device import Machine
from engine.step.mixing import mixes
from engine.step.ranks import Ranks
from engine.step.totals import Means

NOBODY = ""  # whose state rank 0 passes on: it is no file


class Leader(Run):
    """The `Run` of rank 0, which tells the others what it reads."""

    def is_finished(self) -> bool:
        """As `Run`."""
        finished = super().is_finished()
        self._ranks.tell(json.dumps([finished, self.machine.precision]).encode())
        return finished

    def resume(self, state: State) -> None:
        """As `Run`; then all ranks have the same state."""
        super().resume(state)
        if _draws_by_rank(self._config):
            self._progress.warn(
                "warning: each rank has its own dropout masks and mixes its own images: same "
                "samples as with one process, but other masks and pairs"
            )
        tensors, facts = state.snapshot(NOBODY, compared=False)
        self._ranks.tell(json.dumps(facts).encode())
        self._ranks.tell(checkpoint.pack(tensors()))

    def interrupt(self, state: State) -> int:
        """As `Run`; nobody leaves before it is saved."""
        code = super().interrupt(state)
        self._ranks.any(False)
        return code

    def finish(self, state: State, tested: Means | None, viewed: Means | None) -> None:
        """As `Run`; nobody leaves before it is written."""
        super().finish(state, tested, viewed)
        self._ranks.any(False)


class Follower:
    """The calls of `Run` on any other rank: it writes nothing."""

    def __init__(self, config: Config, machine: Machine, sets: DataSets, ranks: Ranks) -> None:
        self.machine = machine
        self._config, self._sets, self._ranks = config, sets, ranks
        self._saving = Saving(config.checkpoint, machine, ranks)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def clear(self) -> None:
        """For rank 0 to do."""

    def is_finished(self) -> bool:
        """As rank 0 says; also the precision to go on with."""
        finished, precision = json.loads(self._ranks.tell(b""))
        self.machine = dataclasses.replace(self.machine, precision=precision)
        return bool(finished)

    def continues(self) -> bool:
        """Always: `resume` takes over all that rank 0 has, also at the beginning."""
        return True

    def resume(self, state: State) -> None:
        """Take over the state of rank 0."""
        facts = json.loads(self._ranks.tell(b""))
        state.restore(Saved(safetensors.torch.load(self._ranks.tell(b"")), facts))

    def end_step(self, state: State) -> None:
        """Compare where a checkpoint is due within the epoch."""
        if self._saving.after_step(state.counters):
            state.compare()

    def end_epoch(self, state: State, evaluated: Means | None) -> None:
        """Count the epoch; compare where a checkpoint is due."""
        state.end_epoch(None if evaluated is None else evaluated.accuracy)
        if any(self._saving.after_epoch(state.counters, state.epochs, evaluated)):
            state.compare()

    def interrupt(self, state: State) -> int:
        """Compare, and wait until it is saved."""
        state.compare()
        self._ranks.any(False)
        return RESUMABLE

    def finish(self, state: State, tested: Means | None, viewed: Means | None) -> None:
        """Take part in the last evaluation, and wait until all is written."""
        if self._config.checkpoint.best:
            network, test = state.network, self._sets.test
            best_weights.tested_by_all(b"", network, test, self.machine, self._ranks)
        self._ranks.any(False)


def open_run(
    config: Config,
    label: str,
    machine: Machine,
    sets: DataSets,
    weights: InitialWeights | None,
    ranks: Ranks,
    *,
    quiet: bool,
) -> Run | Follower:
    """The run of this process: its own, or its part in that of all ranks."""
    if ranks.number > 0:
        return Follower(config, machine, sets, ranks)
    kind = Run if ranks.count == 1 else Leader
    return kind(config, label, machine, sets, weights, quiet=quiet, ranks=ranks)


def _draws_by_rank(config: Config) -> bool:
    """Whether some draws depend on the number of ranks."""
    return resolve(config.model).dropout > 0 or mixes(config.augment)
