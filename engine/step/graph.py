"""The whole step as one recorded graph: augment, forward, loss, backward, clip, update, sums.

The device counts its own steps and reads the rates of each from a table of the epoch, so the host
only replays the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from engine.data.counter import Ids
from engine.data.graph_inputs import graph_inputs
from engine.data.loader import Batch, Loader
from engine.optim.optimizer import DeviceRates
from engine.optim.schedules import Rates
from engine.optim.stages import WHOLE, Stage
from engine.step.compiled import Forward
from engine.step.device import Machine
from engine.step.mixing import Mixing
from engine.step.replay import GraphRecorder, RecordedWork
from engine.step.totals import Totals, correct_of, loss_of
from engine.step.training import TrainingStep

RATES_DTYPE = torch.float32  # as the optimizer's kernels read them


class GraphedTraining:
    """Iterate over an epoch and call it with each batch, which is memory yet to be filled.

    Each stage has a graph of its own, and so has a short last batch. The first steps of each graph
    are eager. `rates` gives the learning rate and momentum of any step of the run, `stage` its
    stage, and `mixing` how its images are mixed, if they are. `exact` says that the images are
    computed with before the network's own precision rounds them.
    """

    def __init__(
        self,
        step: TrainingStep,
        loader: Loader,
        rates: Callable[[int], Rates],
        machine: Machine,
        recorder: GraphRecorder,
        *,
        stage: Callable[[int], Stage] = lambda number: WHOLE,
        mixing: Callable[[int], Mixing] | None = None,
        exact: bool = False,
    ) -> None:
        self._step, self._recorder, self._stage, self._loader = step, recorder, stage, loader
        dtype = torch.float32 if exact else input_dtype(machine)  # rounded only once
        self._inputs = graph_inputs(loader, dtype)
        self._steps = len(loader)
        self._table = torch.zeros((self._steps, len(Rates._fields)), dtype=RATES_DTYPE).to(
            machine.device
        )
        self._mixes = torch.zeros((self._steps, len(Mixing._fields))).to(machine.device)
        self._rates, self._mixing = rates, mixing
        self._ready: dict[int, list[Tensor]] = {}  # the tables of an epoch, on the host
        self._places = torch.zeros(2, dtype=torch.int64, device=machine.device)
        self._at, self._number = self._places.unbind()  # step of the epoch, and of the run
        self._next = 0  # the same, on the host
        # By the images of all ranks, which record and replay together, and by stage.
        self._recorded: dict[tuple[int, Stage], RecordedWork] = {}

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order."""
        return self._inputs.ids(epoch)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A batch for each step; after the last one the next epoch is prepared."""
        for table, prepared in zip((self._table, self._mixes), self._prepared(epoch), strict=False):
            table.copy_(prepared, non_blocking=True)
        self._at.fill_(skip)
        self._next = epoch * self._steps + skip
        self._number.fill_(self._next)
        yield from self._inputs.epoch(epoch, skip)
        self._inputs.prepare(epoch + 1)
        self._ready = {epoch + 1: self._prepared(epoch + 1)}

    def __call__(self, batch: Batch) -> None:
        """Make the next step."""
        images = self._loader.images_at(self._next % self._steps)
        stage = self._stage(self._next)
        work = images, stage
        if work not in self._recorded:
            self._recorded[work] = RecordedWork(self._recorder, partial(self._queue, batch))
        self._step.begin(stage, images)
        self._recorded[work]()
        self._step.totals.images += images
        self._next += 1

    def close(self) -> None:
        """Free the graphs."""
        for work in self._recorded.values():
            work.release()
        self._recorded.clear()

    def _queue(self, batch: Batch) -> None:
        self._inputs.fill(batch, self._at)
        rates = DeviceRates(*self._table.index_select(0, self._at.view(1))[0].unbind())
        mixing = None
        if self._mixing is not None:
            mixing = self._mixes.index_select(0, self._at.view(1))[0]
        self._step.queue(batch, rates, self._number, mixing)
        self._places += 1

    def _prepared(self, epoch: int) -> list[Tensor]:
        """The rates of the epoch and its mixing, in memory that a GPU can copy from."""
        if epoch not in self._ready:
            numbers = range(epoch * self._steps, (epoch + 1) * self._steps)
            tables = [torch.tensor([self._rates(n) for n in numbers], dtype=self._table.dtype)]
            if self._mixing is not None:
                tables.append(torch.tensor([self._mixing(n) for n in numbers]))
            pins = self._table.is_cuda
            self._ready[epoch] = [table.pin_memory() if pins else table for table in tables]
        return self._ready[epoch]


class GraphedEvaluation:
    """A pass over all images of a loader, recorded as training is.

    Whole batches are computed by `forward`: the network itself, or its compiled code.
    """

    def __init__(
        self,
        network: nn.Module,
        loader: Loader,
        machine: Machine,
        recorder: GraphRecorder,
        forward: Forward | None = None,
    ) -> None:
        self.totals = Totals(machine.device)
        self._network, self._machine, self._recorder = network, machine, recorder
        self._forward, self._whole = forward or network, loader.batch_size
        self._inputs = graph_inputs(loader, input_dtype(machine))
        self._at = torch.zeros((), dtype=torch.int64, device=machine.device)
        self._recorded: dict[int, RecordedWork] = {}

    def batches(self) -> Iterator[None]:
        """Yields once per queued batch; `totals` are complete after the last."""
        self.totals.reset()
        self._at.zero_()
        self._network.eval()
        for batch in self._inputs.epoch(0):
            size = len(batch.labels)
            if size not in self._recorded:
                self._recorded[size] = RecordedWork(self._recorder, partial(self._queue, batch))
            self._recorded[size]()
            self.totals.images += size
            yield

    def close(self) -> None:
        """Free the graphs."""
        for work in self._recorded.values():
            work.release()
        self._recorded.clear()

    @torch.no_grad()
    def _queue(self, batch: Batch) -> None:
        self._inputs.fill(batch, self._at)
        whole = len(batch.labels) == self._whole
        logits = logits_of(self._forward if whole else self._network, batch.images, self._machine)
        correct = correct_of(logits, batch.labels)
        self.totals.sum(loss_of(logits, batch.labels), correct, len(batch.labels))
        self._at += 1


def logits_of(network: Forward, images: Tensor, machine: Machine) -> Tensor:
    """The network's output, in float32 whatever it computed in."""
    if not machine.channels_last:
        images = images.contiguous()
    with machine.autocast():
        logits: Tensor = network(images)
    return logits.float()


def input_dtype(machine: Machine) -> torch.dtype:
    """The input type of the first convolution, so that images are rounded only once."""
    if machine.precision == "bf16":
        return torch.bfloat16
    on_gpu = machine.device.type == "cuda"
    return torch.float16 if machine.precision == "fp16" and on_gpu else torch.float32
