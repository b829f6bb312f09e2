"""Where a run stands: everything that the next step depends on, saved and brought back whole."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.config.schema import Config
from engine.data.counter import Ids, Purpose, derive
from engine.data.loader import Batch
from engine.data.sets import DataSets
from engine.errors import RunFailed, UserError
from engine.model import ResNet, initialise, resolve
from engine.optim.schedules import Rates, moves_momentum, rates
from engine.runs.checkpoint import Saved
from engine.step import compiled, replay
from engine.step.device import Machine
from engine.step.evaluation import Evaluations
from engine.step.graph import GraphedTraining
from engine.step.training import TrainingStep, first_bad_step_in


@dataclass
class Counters:
    """The plain numbers of a run, kept in every checkpoint."""

    epoch: int = 0  # of the next step, from 0
    step_in_epoch: int = 0  # steps already made in it
    step: int = 0  # steps already made in the run
    best_accuracy: float | None = None  # over the epochs, of what is watched
    best_epoch: int | None = None  # from 1, as people count
    trace: str = ""  # digest of all sample ids so far, in order
    seconds: float = 0.0  # of work, over all sessions
    epoch_seconds: float = 0.0  # of training in this epoch, evaluation left out
    speeds: list[float] = field(default_factory=list)  # images/s, a number an epoch

    def visit(self, ids: Ids) -> None:
        """A step over the samples `ids` was made."""
        self.step += 1
        self.step_in_epoch += 1
        self.trace = hashlib.sha256(bytes.fromhex(self.trace) + ids.tobytes()).hexdigest()

    def end_epoch(self, accuracy: float | None, images: int) -> None:
        """The epoch is trained and evaluated."""
        self.epoch += 1
        if accuracy is not None and accuracy > (self.best_accuracy or -1.0):
            self.best_accuracy, self.best_epoch = accuracy, self.epoch
        self.speeds.append(round(images / max(self.epoch_seconds, 1e-9), 1))
        self.step_in_epoch, self.epoch_seconds = 0, 0.0


class State:
    """Network, optimizer and counters, and the one step that moves them on."""

    def __init__(self, config: Config, machine: Machine, sets: DataSets) -> None:
        # The weights are drawn on the CPU, so that every device starts from the same.
        torch.manual_seed(derive(config.train.seed, Purpose.INIT))
        architecture = (resolve(config.model), len(sets.classes), sets.side)
        network = ResNet(architecture[0], architecture[1], side=sets.side)
        drawing = torch.Generator().manual_seed(derive(config.train.seed, Purpose.INIT, 1))
        initialise(network, config.model, drawing)
        layout = torch.channels_last if machine.channels_last else torch.contiguous_format
        network = network.to(machine.device, memory_format=layout)  # type: ignore[call-overload]
        self.network = compiled.reused(network, architecture, machine, self)
        self.step = TrainingStep(
            self.network,
            config.optim,
            machine,
            batch_size=config.train.batch_size,
            cycles=moves_momentum(config.schedule),
        )
        self.counters = Counters()
        self._config = config
        self._train = sets.train
        self._steps_per_epoch = len(sets.train)
        self._draws_dropout = resolve(config.model).dropout > 0
        self._machine = machine
        self._on_cpu = machine.device.type == "cpu"
        self._lap = time.monotonic()
        self._recorder = replay.recorder_for(machine)
        self._graphed: GraphedTraining | None = None
        self.evaluations: Evaluations | None = None  # where they are recorded
        if self._recorder is not None:
            self._graphed = GraphedTraining(
                self.step, sets.train, self.rates, machine, self._recorder
            )
            self.evaluations = Evaluations(self.network, machine, self._recorder)

    @property
    def copies_in_background(self) -> bool:
        """Whether `snapshot` is there before its tensors are."""
        return self._recorder is not None

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order."""
        return self._train.ids(epoch) if self._graphed is None else self._graphed.ids(epoch)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A batch for each step of the epoch, without its first `skip`."""
        feed = self._train if self._graphed is None else self._graphed
        return feed.epoch(epoch, skip)

    def rates(self, number: int) -> Rates:
        """Learning rate and momentum of step `number`."""
        return rates(self._config, number, self._steps_per_epoch)

    def advance(self, batch: Batch, ids: Ids) -> None:
        """One step over `batch`, part of the epoch's `ids`; a GPU is not waited for."""
        counters = self.counters
        if self._draws_dropout:  # a function of the step, so that resuming repeats it
            torch.manual_seed(derive(self._config.train.seed, Purpose.DROPOUT, counters.step))
        if self._graphed is None:
            self.step(batch, self.rates(counters.step), counters.step)
        else:
            self._graphed(batch)
        if self._on_cpu:
            self.check()
        first = counters.step_in_epoch * self._config.train.batch_size
        counters.visit(ids[first : first + self._config.train.batch_size])

    def settle(self) -> None:
        """The steps of an epoch are made: wait for the device, refuse a broken state."""
        self.check()
        self.spend(training=True)

    def check(self) -> None:
        """Raise `RunFailed` where a loss or gradient was not finite; waits for the device."""
        self._refuse(self.step.first_bad_step())

    def _refuse(self, trouble: tuple[int, float] | None) -> None:
        if trouble is None:
            return
        number, loss = trouble
        what = "a gradient is not finite" if math.isfinite(loss) else f"loss became {loss}"
        epoch = number // self._steps_per_epoch + 1
        rate = self.rates(number).lr
        raise RunFailed(f"{what} at step {number + 1:,} (epoch {epoch}, lr {rate:.4g})")

    def spend(self, *, training: bool) -> None:
        """Count the time since the last call."""
        now = time.monotonic()
        self.counters.seconds += now - self._lap
        self.counters.epoch_seconds += (now - self._lap) if training else 0.0
        self._lap = now

    def snapshot(self, run: str) -> tuple[Callable[[], Mapping[str, Tensor]], dict[str, Any]]:
        """A checkpoint of the run with fingerprint `run`: its tensors when asked, and its facts.

        A broken state is refused. Where a device works ahead the tensors are copied beside it, and
        asking waits for them; only then is it known whether the state was broken.
        """
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"step.{k}": v for k, v in self.step.tensors().items()}
        facts = {
            "run": run,
            "precision": self._machine.precision,
            "counters": dataclasses.asdict(self.counters),
        }
        if self._recorder is None:
            self.check()
            return lambda: tensors, facts
        flags = self.step.failure_flags()
        arriving = self._recorder.to_host(tensors | {f"flags.{k}": v for k, v in flags.items()})

        def wait() -> Mapping[str, Tensor]:
            arrived = arriving()
            self._refuse(first_bad_step_in({name: arrived.pop(f"flags.{name}") for name in flags}))
            return arrived

        return wait, facts

    def restore(self, saved: Saved, run: str) -> None:
        """Continue from a checkpoint, which must be one of the run with fingerprint `run`."""
        if saved.facts["run"] != run:
            raise UserError("the checkpoints there are of another run; forget them with: --fresh")
        if saved.facts["precision"] != self._machine.precision:
            raise UserError(
                f"the checkpoints there were computed in {saved.facts['precision']}, this machine "
                f"would go on in {self._machine.precision}; forget them with: --fresh"
            )
        parts: dict[str, dict[str, Any]] = {"network": {}, "step": {}}
        for key, value in saved.tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        self.network.load_state_dict(parts["network"])
        self.step.restore(parts["step"])
        self.counters = Counters(**saved.facts["counters"])
        self._lap = time.monotonic()
