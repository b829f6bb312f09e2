"""`engine.train` with the seconds of its epochs by what they were spent on, written to a file.

    python -m benchmarks.measuring.timed_train FILE --config-file configs/resnet453.yaml ...

Training is what the engine counts as such, up to the device's last step of the epoch; evaluation
ends when its result is read; checkpoints are what training waits for, not what a thread writes
meanwhile; the boundary is the rest of an epoch: its log, and the order of the next.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take seconds
    from engine import signals

    signals.listen_early()

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine import train
from engine.errors import OK, run_command
from engine.runs.background import BackgroundWriter
from engine.runs.counters import Counters
from engine.runs.run import Run
from engine.runs.state import State
from engine.step.evaluation import evaluate


class Split:
    """The seconds of each kind of work; what happens within timed work is part of that."""

    def __init__(self) -> None:
        self.seconds = {"training": 0.0, "evaluation": 0.0, "checkpoint": 0.0, "boundary": 0.0}
        self.epochs = 0
        self._began = 0.0
        self._within = False

    def timed(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, whose time is added to `kind`."""

        @functools.wraps(call)
        def timing(*args: Any, **options: Any) -> Any:
            if self._within:
                return call(*args, **options)
            began, self._within = time.monotonic(), True
            try:
                return call(*args, **options)
            finally:
                self._within = False
                self.seconds[kind] += time.monotonic() - began

        return timing

    def begin(self, trained: float) -> None:
        """An epoch begins, of which so many seconds count as trained already."""
        self._began = self._began or time.monotonic() - trained

    def end_epoch(self, trained: float) -> None:
        """An epoch of so many seconds of training has been counted."""
        self.epochs += 1
        self.seconds["training"] += trained

    def as_json(self) -> dict[str, float]:
        """All seconds from the first step on, which add up, and the number of epochs."""
        known = sum(self.seconds.values())
        boundary = max(0.0, time.monotonic() - self._began - known)
        return {**self.seconds, "boundary": boundary, "epochs": self.epochs}


def main(argv: Sequence[str]) -> int:
    """The command."""
    target, split = Path(argv[0]), Split()
    with timing(split):
        code = train.main(argv[1:])
    if code == OK and split.epochs and target.parent.is_dir():
        target.write_text(json.dumps(split.as_json()), encoding="utf-8")
    return code


@contextlib.contextmanager
def timing(split: Split) -> Iterator[None]:
    """The engine with its parts timed."""
    epoch, end_epoch = State.epoch, Counters.end_epoch

    def begun(self: State, *args: Any, **options: Any) -> Iterator[Any]:
        split.begin(self.counters.epoch_seconds)
        return epoch(self, *args, **options)

    def ended(self: Counters, *args: Any, **options: Any) -> None:
        split.end_epoch(self.epoch_seconds)
        end_epoch(self, *args, **options)

    places: list[tuple[Any, str, Any]] = [
        (State, "epoch", begun),
        (Counters, "end_epoch", ended),
        (train, "evaluate", split.timed("evaluation", evaluate)),
        (Run, "_saver", split.timed("checkpoint", Run._saver)),
        (BackgroundWriter, "do", split.timed("checkpoint", BackgroundWriter.do)),
        (BackgroundWriter, "wait", split.timed("checkpoint", BackgroundWriter.wait)),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    for place, name, patched in places:
        setattr(place, name, patched)
    try:
        yield
    finally:
        for place, name, plain in before:
            setattr(place, name, plain)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
