"""TensorBoard events in the run's folder; an error in writing them never stops the run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.config.schema import Run as RunSettings


def problems(run: RunSettings) -> Iterator[tuple[str, str]]:
    """What prevents writing events, before anything is written."""
    if run.tensorboard and importlib.util.find_spec("tensorboard") is None:
        yield "run.tensorboard", "tensorboard is not installed; try: pip install tensorboard"


class Board:
    """Writes scalars to `folder`, or nowhere where it is None."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is None:
            return
        self._guard(lambda: self._open(folder))

    def _open(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, step: int, scalars: Mapping[str, float | None]) -> None:
        """The numbers of one epoch."""
        for name, value in scalars.items():
            if self._writer is not None and value is not None:
                self._guard(lambda n=name, v=value: self._writer.add_scalar(n, v, step))
        if self._writer is not None:
            self._guard(lambda: self._writer.flush())

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._guard(lambda: self._writer.close())

    def _guard(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # of any kind: training goes on
            self._writer = None
            print(
                f"warning: TensorBoard events stopped ({error!r}); training continues",
                file=sys.stderr,
            )
