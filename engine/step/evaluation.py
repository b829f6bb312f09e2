"""Evaluation: every image once, with the running averages of training.

There is no augmentation but what `tta` names: see `engine.step.views`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from engine.data.loader import Loader
from engine.step import compiled
from engine.step.device import Machine
from engine.step.graph import GraphedEvaluation
from engine.step.ranks import ALONE, Ranks
from engine.step.replay import GraphRecorder
from engine.step.totals import Means, Totals, loss_of
from engine.step.views import NONE, logits_of_views


class Stoppable(Protocol):
    """Something that can end an evaluation early."""

    requested: bool


class Evaluations:
    """The recorded evaluations of one network, one per loader."""

    def __init__(self, network: nn.Module, machine: Machine, recorder: GraphRecorder) -> None:
        self._network, self._machine, self._recorder = network, machine, recorder
        compiles = machine.savings.compile_evaluation
        self._forward = compiled.forward(network, machine) if compiles else network
        self._known: dict[Loader, GraphedEvaluation] = {}

    def of(self, loader: Loader) -> GraphedEvaluation:
        """The evaluation over `loader`, recorded at its first use."""
        if loader not in self._known:
            self._known[loader] = GraphedEvaluation(
                self._network, loader, self._machine, self._recorder, self._forward
            )
        return self._known[loader]

    def close(self) -> None:
        """Free the graphs."""
        for evaluation in self._known.values():
            evaluation.close()
        self._known.clear()


def evaluate(
    network: nn.Module,
    loader: Loader,
    machine: Machine,
    stop: Stoppable | None = None,
    graphed: Evaluations | None = None,
    tta: str = NONE,
    ranks: Ranks = ALONE,
) -> Means | None:
    """Loss and accuracy over all images of `loader`; None if it was stopped before the end.

    Each of `ranks` has a loader of its part, and the result of all.
    A recorded evaluation has a single view of each image.
    """
    assert graphed is None or tta == NONE
    totals = Totals(machine.device) if graphed is None else graphed.of(loader).totals
    batches = _summed(network, loader, machine, totals, tta)
    stopped = False
    for _ in batches if graphed is None else graphed.of(loader).batches():
        if stop is not None and stop.requested:
            stopped = True
            break
    return None if ranks.any(stopped) else totals.read(ranks)


def _summed(
    network: nn.Module, loader: Loader, machine: Machine, totals: Totals, tta: str
) -> Iterator[None]:
    for logits, labels in forward_passes(network, loader, machine, tta):
        totals.add(loss_of(logits, labels), logits, labels)
        yield


@torch.no_grad()
def forward_passes(
    network: nn.Module, loader: Loader, machine: Machine, tta: str = NONE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels, batch by batch, in the order of the file."""
    network.eval()
    for images, labels in loader.epoch(0):
        yield logits_of_views(network, images, machine, tta), labels
