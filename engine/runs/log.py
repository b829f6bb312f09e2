"""The log of a run: a line of JSON per epoch, in its file and in every checkpoint.

The result of the last epoch is taken from here, so a file that is lost or edited meanwhile changes
nothing: it is written again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine import atomic, files
from engine.errors import UserError


class Log:
    """Begins empty, or with what `restore` gives it; then a line is added per epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []

    @property
    def lines(self) -> list[str]:
        """For a checkpoint; later epochs do not change it."""
        return list(self._lines)

    def restore(
        self, saved: Sequence[str] | None, epochs: int, warn: Callable[[str], None]
    ) -> None:
        """Go back to the first `epochs` epochs, in the file as well.

        Their lines are those `saved` in the checkpoint; one of an older version has none.
        """
        there = self._read()
        self._lines = _checked(self._path, there, epochs) if saved is None else list(saved)
        content = "".join(f"{line}\n" for line in self._lines).encode()
        if not there.startswith(content):
            warn(f"warning: {self._path}: lacks or changes lines; written again as it was saved")
        if there != content:
            atomic.write_bytes(self._path, content)

    def add(self, line: dict[str, Any]) -> Callable[[], None]:
        """Add the line of an epoch; returns what writes it to the file, durably."""
        text = json.dumps(line, allow_nan=False)
        self._lines.append(text)
        return lambda: atomic.append_line(self._path, text)

    def last(self) -> dict[str, Any]:
        """The line of the last epoch."""
        line: dict[str, Any] = json.loads(self._lines[-1])
        return line

    def _read(self) -> bytes:
        try:
            return files.read_bytes(self._path, files.LARGEST_LOG)
        except FileNotFoundError:
            return b""


def _checked(path: Path, content: bytes, epochs: int) -> list[str]:
    """The first `epochs` lines of a log that nothing else confirms."""
    try:
        lines = content.decode().splitlines()[:epochs]
        numbers = [json.loads(line)["epoch"] for line in lines]
    except (ValueError, TypeError, KeyError, RecursionError):
        numbers = []
    if numbers != list(range(1, epochs + 1)):
        raise UserError(
            f"{path}: does not have a line for each of the {epochs} epochs that were trained, and "
            "the checkpoint, of an older version, does not hold them; put the log back"
        )
    return lines
