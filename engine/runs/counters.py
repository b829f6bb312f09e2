"""The plain numbers of a run: how far it is, its best epoch, its speed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from engine.data.counter import Ids


@dataclass
class Counters:
    """The plain numbers of a run, kept in every checkpoint."""

    epoch: int = 0  # of the next step, from 0
    step_in_epoch: int = 0  # steps already made in it
    step: int = 0  # steps already made in the run
    best_accuracy: float | None = None  # over the epochs, on validation or else test images
    best_epoch: int | None = None  # from 1
    trace: str = ""  # digest of all sample ids so far, in order
    seconds: float = 0.0  # of the run, over all sessions
    epoch_seconds: float = 0.0  # of training in this epoch, without evaluation and checkpoints
    speeds: list[float] = field(default_factory=list)  # images/s, one number per epoch

    def end_step(self, ids: Ids) -> None:
        """Count a step over the samples `ids`."""
        self.step += 1
        self.step_in_epoch += 1
        self.trace = hashlib.sha256(bytes.fromhex(self.trace) + ids.tobytes()).hexdigest()

    def end_epoch(self, accuracy: float | None, images: int) -> None:
        """Count an epoch over `images`, evaluated to `accuracy`."""
        self.epoch += 1
        if accuracy is not None and (self.best_accuracy is None or accuracy > self.best_accuracy):
            self.best_accuracy, self.best_epoch = accuracy, self.epoch
        self.speeds.append(round(images / max(self.epoch_seconds, 1e-9), 1))
        self.step_in_epoch, self.epoch_seconds = 0, 0.0
