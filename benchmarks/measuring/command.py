"""What the benchmarks' commands share: checks, progress on stderr, exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence

import torch

from engine.errors import UserError, run_command


def check(args: argparse.Namespace) -> None:
    """Refuse a `--device` that is not there, and a `--json` that could not be written."""
    if args.device != "cpu":
        _check_gpu(args.device)
    if args.json and not args.json.resolve().parent.is_dir():
        raise UserError(f"--json {args.json}: its folder does not exist")


def narrator() -> Callable[[str], None]:
    """Prints progress to stderr, with the seconds since the start."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {text}", file=sys.stderr, flush=True)

    return say


def run(main: Callable[[Sequence[str]], int]) -> int:
    """`main` with its exit codes; a SIGTERM removes the temporary files as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_command(main)


def _check_gpu(name: str) -> None:
    kind, _, index = name.partition(":")
    if kind != "cuda" or not (index or "0").isdigit():
        raise UserError(f"--device {name}: expected cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch sees no GPU here; use cpu")
    if int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"--device {name}: this machine has cuda:0 to cuda:{count - 1}")
