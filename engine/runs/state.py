"""The training state: everything that the next step depends on, saved and restored whole."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.config.schema import Config
from engine.data.counter import Purpose, derive
from engine.data.loader import Batch, Loader
from engine.data.sets import DataSets
from engine.errors import RunFailed, UserError
from engine.model import ResNet, initialise, resolve, whiten
from engine.model.norm import count_together, share
from engine.model.whitening import IMAGES
from engine.optim.schedules import Rates, moves_momentum, rates
from engine.optim.stages import Stage, epochs_of, stage, steps_of
from engine.runs.checkpoint import Saved
from engine.runs.counters import Counters
from engine.runs.initial_weights import InitialWeights
from engine.runs.timer import Timer
from engine.step import compiled, mixing, replay
from engine.step.device import Machine
from engine.step.evaluation import Evaluations
from engine.step.graph import GraphedTraining
from engine.step.mixing import Mixing
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means
from engine.step.training import TrainingStep, first_bad_step_in

AVERAGED = "step.ema.weights."  # before the names of their moving averages, where there are any
NETWORK = "network."  # before the names of weights and batch-norm statistics in a snapshot


class State:
    """Network, optimizer and counters, and the step that moves them on.

    Where it `continues` from a checkpoint, a whitening stem's filters are not computed: they come
    from there.
    """

    def __init__(
        self,
        config: Config,
        machine: Machine,
        sets: DataSets,
        weights: InitialWeights | None = None,
        ranks: Ranks = ALONE,
        *,
        continues: bool = False,
    ) -> None:
        assert (weights is not None) == bool(config.model.weights)
        # The weights are drawn on the CPU, so that every device starts from the same.
        torch.manual_seed(derive(config.train.seed, Purpose.INIT))
        architecture = (resolve(config.model), len(sets.classes), sets.side)
        network = ResNet(architecture[0], architecture[1], side=sets.side)
        generator = torch.Generator().manual_seed(derive(config.train.seed, Purpose.INIT, 1))
        initialise(network, config.model, generator)
        if weights is not None:
            weights.load_into(network)
        elif not continues:
            whiten(network, sets.train.pixels(IMAGES), sets.std)
        if ranks.count > 1:
            share(network, ranks)
        if machine.savings.count_together:
            count_together(network)
        network.pad_stem(machine.savings.stem_channels)
        layout = torch.channels_last if machine.channels_last else torch.contiguous_format
        network = network.to(machine.device, memory_format=layout)  # type: ignore[call-overload]
        self.network = compiled.reused(network, architecture, machine, self)
        self._steps_per_epoch = len(sets.train)
        self._steps = steps_of(config, self._steps_per_epoch)
        self.step = TrainingStep(
            self.network,
            config.optim,
            machine,
            batch_size=config.train.batch_size,
            cycles=moves_momentum(config.schedule),
            smoothing=config.train.label_smoothing,
            steps=self._steps,
            ranks=ranks,
        )
        self._config, self._machine = config, machine
        self._loader, self._ranks = sets.train, ranks
        self.epochs = epochs_of(config, self._steps_per_epoch)  # the last may be a part
        self._draws_dropout = architecture[0].dropout > 0
        self._mixes, self._side = mixing.mixes(config.augment), sets.side
        self._recorder = replay.recorder_for(machine)
        self._train: Loader | GraphedTraining = sets.train
        self.evaluations: Evaluations | None = None  # where they are recorded
        if self._recorder is not None:
            self._train = GraphedTraining(
                self.step,
                sets.train,
                self.rates,
                machine,
                self._recorder,
                stage=self.stage,
                mixing=self.mixing if self._mixes else None,
                exact=self._mixes or bool(config.augment.sizes),
            )
            self.evaluations = Evaluations(self.network, machine, self._recorder)
        self._counters, self._timer = Counters(), Timer()

    @property
    def counters(self) -> Counters:
        """The counters, with the times of this moment."""
        self._counters.seconds = self._timer.seconds
        self._counters.epoch_seconds = self._timer.epoch_seconds
        return self._counters

    @property
    def copies_in_background(self) -> bool:
        """Whether `snapshot` returns before its tensors are copied."""
        return self._recorder is not None

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A batch for each step of the epoch, without its first `skip`."""
        alone = self._ranks.count == 1
        self._ids = self._train.ids(epoch) if alone else self._loader.ids_of_all(epoch)
        steps = self.steps_of_epoch(epoch)
        if steps == self._steps_per_epoch:
            yield from self._train.epoch(epoch, skip)
        else:
            yield from itertools.islice(self._train.epoch(epoch, skip), steps - skip)

    def steps_of_epoch(self, epoch: int) -> int:
        """Its steps, of which the run's last epoch may have fewer than the others."""
        left = self._steps - epoch * self._steps_per_epoch
        return min(left, self._steps_per_epoch) if left > 0 else self._steps_per_epoch

    def rates(self, number: int) -> Rates:
        """Learning rate and momentum of step `number`."""
        return rates(self._config, number, self._steps_per_epoch)

    def stage(self, number: int) -> Stage:
        """The stage of step `number`."""
        return stage(self._config, number, self._steps_per_epoch)

    def mixing(self, number: int) -> Mixing:
        """How the images of step `number` are mixed, if any are."""
        return mixing.mixing(self._config.augment, self._config.train.seed, number, self._side)

    def advance(self, batch: Batch) -> None:
        """Make one step over the next batch of `epoch`; a GPU is not waited for."""
        counters, size = self._counters, self._config.train.batch_size
        if self._draws_dropout:  # a function of the step, so that resuming repeats it
            seed = derive(self._config.train.seed, Purpose.DROPOUT, counters.step)
            torch.manual_seed(seed + self._ranks.number)
        if isinstance(self._train, GraphedTraining):
            self._train(batch)
        else:
            number = counters.step
            mix = self.mixing(number) if self._mixes else None
            images = self._loader.images_at(counters.step_in_epoch)
            self.step(batch, self.rates(number), number, self.stage(number), mix, images)
        if self._machine.device.type == "cpu":
            self.check()
        first = counters.step_in_epoch * size
        counters.end_step(self._ids[first : first + size])
        if counters.step == self._steps:
            self.step.finish()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """In here the network has the weights that are evaluated and are the result."""
        return self.step.averaged()

    def check(self) -> None:
        """Raise `RunFailed` where a loss or gradient was not finite; waits for the device."""
        self._refuse(self.step.first_bad_step())

    @contextlib.contextmanager
    def paused(self, *, wait: bool = True) -> Iterator[None]:
        """Everything but training happens in here, so that images/s count training alone.

        Before it begins, the device finishes its steps and a bad one is refused; without `wait`
        neither happens.
        """
        if wait:
            self.check()
        with self._timer.paused():
            yield

    def end_epoch(self, accuracy: float | None) -> Means:
        """Count the epoch, which was evaluated to `accuracy`; returns its training means."""
        totals = self.step.totals
        trained = totals.read()
        totals.reset()
        self.counters.end_epoch(accuracy, trained.images)
        self._timer.begin_epoch()
        return trained

    def _refuse(self, bad_step: tuple[int, float] | None) -> None:
        if bad_step is None:
            return
        number, loss = bad_step
        what = "a gradient is not finite" if math.isfinite(loss) else f"loss became {loss}"
        epoch = number // self._steps_per_epoch + 1
        rate = self.rates(number).lr
        raise RunFailed(f"{what} at step {number + 1:,} (epoch {epoch}, lr {rate:.4g})")

    def snapshot(
        self, run: str, *, compared: bool = True
    ) -> tuple[Callable[[], Mapping[str, Tensor]], dict[str, Any]]:
        """A checkpoint of the run with fingerprint `run`: a function for its tensors, its facts.

        A state after a bad step is refused. On a GPU with graphs the tensors are copied while
        training goes on: the function waits for the copy, and only then refuses a bad state.
        Ranks whose states are `compared` all call this, or `compare`.
        """
        tensors = {f"{NETWORK}{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"step.{k}": v for k, v in self.step.tensors().items()}
        step = self._counters.step
        facts = {
            "run": run,
            "precision": self._machine.precision,
            "counters": dataclasses.asdict(self.counters),
        }
        if self._recorder is None:
            self.check()
            if compared:
                self.compare()
            return lambda: tensors, facts
        flags = self.step.failure_flags()
        flags |= {"differ": self._differ(compared), "infinite": self._infinite()}
        copying = self._recorder.to_host(tensors | {f"flags.{k}": v for k, v in flags.items()})

        def wait() -> Mapping[str, Tensor]:
            copies = copying()
            results = {name: copies.pop(f"flags.{name}") for name in flags}
            self._refuse(first_bad_step_in(results))
            self._refuse_replicas(results["differ"])
            self._refuse_values(results["infinite"], step)
            return copies

        return wait, facts

    def close(self) -> None:
        """Free the recorded graphs, which reference cycles would keep; no step is made after it."""
        if isinstance(self._train, GraphedTraining):
            self._train.close()
        if self.evaluations is not None:
            self.evaluations.close()

    def compare(self) -> None:
        """Refuse a state that is not finite, or another than that of the other ranks.

        A GPU with graphs is not waited for: rank 0 will refuse, once its copy has arrived.
        """
        differ = self._differ(True)
        if self._recorder is None:
            self._refuse_replicas(differ)
            self.refuse_infinite()

    def refuse_infinite(self) -> None:
        """Raise `RunFailed` where the last update made infinity or nan; waits for the device."""
        self._refuse_values(self._infinite(), self._counters.step)

    def _differ(self, compared: bool) -> Tensor:
        """Whether the ranks have different weights or other state: 0 if not, on the device.

        Equal tensors have equal checksums; these are compared with the mean of all ranks'.
        """
        ranks, differ = self._ranks, torch.zeros((), dtype=torch.int64, device=self._machine.device)
        if ranks.count == 1 or not compared:
            return differ
        state = (*self.network.state_dict().values(), *self.step.tensors().values())
        own = torch.stack([_bits(tensor).to(differ.device) for tensor in state])
        total = own.clone()
        ranks.sum_(total)
        differ += (total != own * ranks.count).sum()
        ranks.sum_(differ)
        return differ

    def _infinite(self) -> Tensor:
        """Whether any value of the state is infinite or nan: 0 if not, on the device."""
        state = (*self.network.state_dict().values(), *self.step.tensors().values())
        values = [each.detach() for each in state if each.is_floating_point() and each.numel()]
        zeros = torch._foreach_norm(torch._foreach_mul(values, 0.0))  # nan, of an infinite value
        norms = torch.stack([each.to(self._machine.device, torch.float64) for each in zeros])
        return (~torch.isfinite(norms)).sum()

    def _refuse_values(self, infinite: Tensor, step: int) -> None:
        if int(infinite):
            last = max(0, step - 1)
            epoch, rate = last // self._steps_per_epoch + 1, self.rates(last).lr
            raise RunFailed(
                f"the weights are not finite after step {step:,} (epoch {epoch}, lr {rate:.4g})"
            )

    def _refuse_replicas(self, differ: Tensor) -> None:
        if self._ranks.count > 1 and int(differ):
            raise RunFailed(
                f"the {self._ranks.count} ranks no longer have the same weights; one of their "
                "machines computes wrong, or has another software"
            )

    def restore(self, saved: Saved) -> None:
        """Continue from a checkpoint of this run."""
        if saved.facts["precision"] != self._machine.precision:
            raise UserError(
                f"the checkpoints found were computed in {saved.facts['precision']}, this machine "
                f"would continue in {self._machine.precision}; continue with: "
                f"--runtime.precision {saved.facts['precision']}"
            )
        parts: dict[str, dict[str, Any]] = {"network": {}, "step": {}, "best": {}}
        for key, value in saved.tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        self.network.load_state_dict(parts["network"])
        self.step.restore(parts["step"])
        self._counters = Counters(**saved.facts["counters"])
        self._timer = Timer(self._counters.seconds, self._counters.epoch_seconds)


def _bits(tensor: Tensor) -> Tensor:
    """A checksum of the bits of a tensor, computed where it is: one of each value and its place."""
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().contiguous().view(-1).view(kinds[tensor.itemsize]).long()
    return (bits * (torch.arange(len(bits), device=bits.device) * 2 + 1)).sum()
