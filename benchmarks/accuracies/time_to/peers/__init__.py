"""What trains a network to an accuracy, each kind in one file, and what a run of it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EVALUATIONS = 16  # of a run at most, so that long runs do not spend their time on them


@dataclass(frozen=True)
class Task:
    """One run."""

    kind: str  # ours, airbench or ffcv
    train: str  # a .beton file; its test set lies beside it
    device: str  # cpu, cuda, cuda:N
    threads: int
    seed: int
    epochs: float = 0.0  # 0: as the recipe says
    checkout: str = ""  # the user's folder of a peer's code
    words: tuple[str, ...] = ()  # of ours: the flags of engine.train
    most_seconds: float = 0.0  # of training, after which it is cut; 0: to the end of the recipe
    cache: str = ""  # folder of compiled code

    @property
    def test(self) -> Path:
        """The test set."""
        train = Path(self.train)
        return train.with_name(train.name.replace("_train", "_test"))


@dataclass(frozen=True)
class View:
    """The evaluation of the final weights."""

    accuracy: float
    seconds: float
    petaflops: float


@dataclass
class Outcome:
    """What a run gives; times exclude evaluation, work is that of the network's arithmetic."""

    setting: str  # how it computes
    precision: str
    batch_size: int
    params: int
    epochs: float = 0.0
    steps: int = 0
    images: int = 0  # trained, each as often as it was visited
    seconds: float = 0.0  # from pixels in memory to trained weights
    petaflops: float = 0.0
    views: dict[str, View] = field(default_factory=dict)  # single, flip, six
    curve: list[dict[str, float]] = field(default_factory=list)  # after epochs, by a single view
    facts: dict[str, Any] = field(default_factory=dict)  # where it comes from, what was changed

    def point(self, epoch: float, seconds: float, petaflops: float, accuracy: float) -> None:
        """Note an accuracy by a single view on the way."""
        self.curve.append(
            {"epoch": epoch, "seconds": seconds, "petaflops": petaflops, "accuracy": accuracy}
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        return asdict(self)


class Stopwatch:
    """Seconds of what runs outside its pauses; a GPU is waited for before it is read."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self._wait, self._spent = wait, 0.0
        wait()
        self._since: float | None = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        if self._since is None:
            return self._spent
        return self._spent + time.perf_counter() - self._since

    def reached(self, seconds: float) -> bool:
        """Whether so many seconds have passed."""
        self._wait()
        return self.seconds >= seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here does not count."""
        self._wait()
        self._spent, self._since = self.seconds, None
        yield
        self._wait()
        self._since = time.perf_counter()


def is_evaluated(epoch: int, epochs: float) -> bool:
    """Whether epoch `epoch`, counted from 1, of a run of `epochs` is followed by an evaluation."""
    every = max(1, -(-int(epochs) // EVALUATIONS))
    return epoch % every == 0 or epoch >= epochs
