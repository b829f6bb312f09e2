"""Whether a run's record, its log and its weights say the same about its result.

Each is written on its own, so what was edited or damaged in one of them shows in the others.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from engine import files
from engine.errors import UserError
from engine.runs.directory import RunFolder

COUNTS = {"steps": "step", "sample_trace": "sample_trace"}  # by their names in the log
TOLERANCE = 0.005  # of an accuracy: another device, precision or torch rounds otherwise


def differences(record: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    """In what a finished record differs from the last line of its log.

    A log that was cut, so that the last epoch is not there, says nothing; nor does what one lacks.
    """
    if record.get("epochs") != last.get("epoch"):
        return []
    names = COUNTS | {key: key for key in last if key.endswith(("_loss", "_accuracy"))}
    pairs = ((key, record.get(key), last.get(of_log)) for key, of_log in names.items())
    return [
        f"{key} is {ours!r} in record.json and {theirs!r} in log.jsonl"
        for key, ours, theirs in pairs
        if ours is not None and theirs is not None and ours != theirs
    ]


def check(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Raise where a finished record contradicts its log; a log that is not there says nothing."""
    last: Any = None
    with contextlib.suppress(OSError, ValueError, IndexError, RecursionError):
        last = json.loads(files.read_bytes(folder.log, files.LARGEST_LOG).splitlines()[-1])
    if isinstance(last, dict) and (wrong := differences(record, last)):
        raise UserError(*(f"{folder.path}: {each}; one of the two was changed" for each in wrong))


def contradicts(recorded: float, reached: float, images: int) -> str:
    """In what an accuracy of the record differs from that of the weights; empty if in nothing."""
    if abs(recorded - reached) * images <= TOLERANCE * images + 1:
        return ""
    return (
        f"record.json says {100 * recorded:.2f} %, but its weights reach {100 * reached:.2f} % on "
        "the same images"
    )
