"""What pays on this CPU, measured once and remembered in the folder of compiled code.

A measurement that has been made is never made again there, so that `auto` means the same on each
day; a run that continues takes what its record says, whatever is measured by then.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from engine import atomic
from engine.errors import UserError

FILE = "measured.json"
PAYS = 1.2  # times as fast as float32; true units give 1.6 to 3, emulated ones less than 1
BATCH, WIDTH, SIDE, TURNS = 16, 64, 16, 9  # of the probe: a tenth of a second


def bf16_pays(processor: str, cache: Path | None) -> bool:
    """Whether a convolution, forward and backward, is clearly faster in bfloat16."""
    return remembered(f"bf16 / {processor} / torch {torch.__version__}", bf16_gain, cache) >= PAYS


def remembered(what: str, measure: Callable[[], float], cache: Path | None) -> float:
    """What was found when this was first asked; without a folder it is measured anew."""
    if cache is None:
        return measure()
    path = cache / FILE
    known = _read(path)
    if what not in known:
        known[what] = round(measure(), 3)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            atomic.write_json(path, known)
        except (OSError, UserError) as error:  # full, read-only, written by another process
            print(f"warning: {path}: not remembered ({error})", file=sys.stderr)
    return known[what]


def bf16_gain() -> float:
    """Time in float32 over time in bfloat16, of the processor on one thread.

    Its own time and the best of interleaved turns: what else the machine does hardly counts.
    """
    random = torch.Generator().manual_seed(0)  # of its own: the run's draws stay what they are
    shapes = (BATCH, WIDTH, SIDE, SIDE), (WIDTH, WIDTH, 3, 3)
    images, weights = (
        torch.randn(shape, generator=random).to(memory_format=torch.channels_last)
        for shape in shapes
    )
    weights.requires_grad_()
    images.requires_grad_()

    def seconds(mixed: bool) -> float:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = F.relu(F.conv2d(images, weights, padding=1))
        torch.autograd.grad(out.sum(), (images, weights))
        return time.process_time() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds(False), seconds(True)
        turns = [(seconds(False), seconds(True)) for _ in range(TURNS)]
    finally:
        torch.set_num_threads(threads)
    return min(turn[0] for turn in turns) / min(turn[1] for turn in turns)


def _read(path: Path) -> dict[str, float]:
    """What is remembered; a file that does not read is dropped."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not all(
        type(value) in (int, float) and 0 < value < float("inf") for value in content.values()
    ):
        print(f"warning: {path}: cannot be read, measured anew", file=sys.stderr)
        return {}
    return {key: float(value) for key, value in content.items()}
