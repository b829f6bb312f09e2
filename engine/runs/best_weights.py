"""The weights of the epoch with the best accuracy on held-out validation images.

They lie in a file of the run's folder and in every checkpoint, so that a run that continues from
any checkpoint, even after an epoch was lost, ends with the same file.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from engine import atomic, files
from engine.data.loader import Loader
from engine.errors import UserError
from engine.runs import checkpoint
from engine.runs.checkpoint import Tensors
from engine.runs.counters import Counters
from engine.runs.state import AVERAGED, NETWORK
from engine.step.device import Machine
from engine.step.evaluation import evaluate
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Means

PREFIX = "best."  # of their names in a checkpoint


class BestWeights:
    """Kept beside the last ones; they never replace the result."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tensors: Tensors = {}

    def keep(self, snapshot: Mapping[str, Tensor]) -> None:
        """Take the network's tensors from a snapshot and replace the file."""
        self._tensors = {
            name.removeprefix(part): tensor.detach().to("cpu", copy=True)
            for part in (NETWORK, AVERAGED)  # in this order: averages are what was evaluated
            for name, tensor in snapshot.items()
            if name.startswith(part)
        }
        atomic.write_bytes(self._path, checkpoint.pack(self._tensors))

    def for_checkpoint(self) -> Tensors:
        """The tensors by their names in a checkpoint."""
        return {PREFIX + name: tensor for name, tensor in self._tensors.items()}

    def restore(self, saved: Mapping[str, Tensor], best_epoch: int | None) -> None:
        """Go back to those of a checkpoint, in the file as well; none: no epoch was evaluated."""
        self._tensors = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in saved.items()
            if name.startswith(PREFIX)
        }
        if not self._tensors:
            if best_epoch is not None:
                raise UserError(
                    f"checkpoint.best: this run was begun without it, and the weights of epoch "
                    f"{best_epoch}, its best so far, were not kept; continue without it, or choose "
                    "another run.name"
                )
            self._path.unlink(missing_ok=True)
            return
        content = checkpoint.pack(self._tensors)
        with contextlib.suppress(FileNotFoundError):
            if files.read_bytes(self._path, files.LARGEST_TENSORS) == content:
                return
        atomic.write_bytes(self._path, content)

    def tested(
        self,
        network: nn.Module,
        test: Loader,
        machine: Machine,
        counters: Counters,
        ranks: Ranks = ALONE,
    ) -> dict[str, Any]:
        """For the record: their accuracy on the test set; `network` holds them afterwards."""
        packed = checkpoint.pack(self._tensors)
        means = tested_by_all(packed, network, test, machine, ranks)
        return {
            "best_weights": {
                "epoch": counters.best_epoch,
                "validation_accuracy": counters.best_accuracy,
                "test_accuracy": means.accuracy,
                "test_loss": means.loss,
            },
            "best_weights_sha256": hashlib.sha256(packed).hexdigest(),
        }


def tested_by_all(
    packed: bytes, network: nn.Module, test: Loader, machine: Machine, ranks: Ranks
) -> Means:
    """The accuracy on the test set of the weights that rank 0 passes."""
    network.load_state_dict(safetensors.torch.load(ranks.tell(packed)))
    means = evaluate(network, test, machine, ranks=ranks)
    assert means is not None
    return means
