"""All measurements for a GPU, in parts of at most eight minutes, the most important first.

    python -m benchmarks.gpu                 all parts that are not done yet, into
                                             benchmarks/results/<device>/
    python -m benchmarks.gpu --minutes 30    as many as are expected to fit
    python -m benchmarks.gpu --rehearse      tiny sizes on a CPU, to try every command

Each part is a process of its own, stopped at its limit; after a failed part the next one starts.
Each part has a JSON file, which says whether it is done: the same command continues with the
others. Exit codes: 0 all done, 1 a part failed, 75 time is up (the same command continues).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.parts import MOST, PARTS, Part, Setup
from benchmarks.measuring import machine
from benchmarks.measuring.child import ROOT
from benchmarks.measuring.data import USUAL, find, synthetic_set
from engine import atomic
from engine.errors import FAILED, OK, RESUMABLE, UserError, run_command
from engine.parser import Parser

PROGRAM = "python -m benchmarks.gpu"
RESULTS = ROOT / "benchmarks" / "results"
REHEARSED_IMAGES = 80
TAIL = 6000  # characters of a part's output that are kept
DONE, PART_FAILED, STOPPED = "done", "failed", "stopped at its limit"
ENOUGH = 20.0  # seconds: no part of a rehearsal is started with less time left


def main(argv: Sequence[str]) -> int:
    """The command."""
    args = _arguments(argv)
    out = Path(args.out) if args.out else RESULTS / _folder(args)
    if args.list:
        _list(out, args.rehearse)
        return OK
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    states: list[str | None] = []
    with _data(args) as data:
        for part in args.part or PARTS:
            if status(out, part, args.rehearse) == DONE and not args.again:
                _say(f"{part.name}: already done")
                continue
            left = 60 * args.minutes - (time.monotonic() - began)
            if left < (ENOUGH if args.rehearse else part.seconds):
                _say(f"{part.name}: not started, only {max(left, 0):.0f} s left")
                states.append(None)
                continue
            states.append(_run(part, args, out, data, min(MOST, left)))
    if PART_FAILED in states or STOPPED in states:
        return FAILED
    return RESUMABLE if None in states else OK


def status(out: Path, part: Part, rehearsal: bool) -> str | None:
    """How the part ended before, as a rehearsal or not; None where it never ran so."""
    try:
        content = json.loads((out / f"{part.name}.json").read_text(encoding="utf-8"))
        return str(content["status"]) if content["rehearsal"] == rehearsal else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_part(part: Part, setup: Setup, limit: float) -> dict[str, Any]:
    """Run a part's command to its end or its limit; the content of its JSON file."""
    command = part.command(setup)
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if setup.rehearsal:
        environment |= {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}  # nothing compiles
    load, began = machine.load(), time.monotonic()
    code, output = _watched(command, environment, limit)
    result = None
    with contextlib.suppress(OSError, ValueError):
        result = json.loads(_portable(setup.result.read_text(encoding="utf-8"), setup))
    return {
        "part": part.name,
        "what": part.what,
        "status": {0: DONE, None: STOPPED}.get(code, PART_FAILED),
        "exit": code,
        "rehearsal": setup.rehearsal,
        "seconds": round(time.monotonic() - began, 1),
        "command": [Path(word).name if Path(word).is_absolute() else word for word in command],
        "conditions": {**machine.describe(setup.device), "load_before": load},
        "result": result,  # of a part that was stopped: what it had measured by then
        "said": _portable(output, setup)[-TAIL:].splitlines(),
    }


def _portable(text: str, setup: Setup) -> str:
    """`text` without the folders of this machine."""
    return text.replace(str(setup.data), setup.data.name).replace(str(ROOT), ".")


def _run(part: Part, args: argparse.Namespace, out: Path, data: Path, limit: float) -> str:
    _say(f"{part.name}: {part.what} (at most {limit / 60:.1f} minutes)")
    with tempfile.TemporaryDirectory(prefix="gpu-part-") as folder:
        setup = Setup(data, args.device, args.rehearse, Path(folder) / "result.json")
        content = run_part(part, setup, limit)
    atomic.write_json(out / f"{part.name}.json", content)
    _say(f"{part.name}: {content['status']} after {content['seconds']:.0f} s")
    if content["status"] != DONE:
        for line in content["said"][-5:]:
            _say(f"    {line}")
    return str(content["status"])


def _watched(command: list[str], environment: dict[str, str], limit: float) -> tuple[Any, str]:
    """Exit code (None: stopped with all its children) and output, stdout and stderr together."""
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if code is None:  # at the limit, or Ctrl-C here
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        printed.seek(0)
        return code, printed.read().decode("utf-8", "replace")


def _data(args: argparse.Namespace) -> contextlib.AbstractContextManager[Path]:
    """The training set; a rehearsal that names none has a small synthetic one."""
    if args.rehearse and not args.data:
        return synthetic_set(REHEARSED_IMAGES)
    path = find(args.data)
    if path is None:
        raise UserError(f"{USUAL[0]}: no such file; name a training set with --data")
    return contextlib.nullcontext(path.resolve())


def _folder(args: argparse.Namespace) -> str:
    """A name for the device."""
    if args.rehearse:
        return "rehearsal"
    return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(args.device).lower()).strip("-")


def _list(out: Path, rehearsal: bool) -> None:
    for number, part in enumerate(PARTS, 1):
        state = status(out, part, rehearsal) or "not run"
        print(f"{number:>2}  {part.name:<22} {part.seconds / 60:>4.1f} min  {state:<8} {part.what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--part", type=_part, action="append", metavar="N", help="only this one: number or name")
    add("--list", action="store_true", help="list the parts and whether each is done")
    add("--minutes", type=float, default=1e6, metavar="M", help="start no part that would not fit")
    add("--again", action="store_true", help="repeat what is done")
    add("--out", metavar="FOLDER", help="default benchmarks/results/<device>")
    add("--data", metavar="X.beton", help=f"the training set (default {USUAL[0]})")
    add("--device", metavar="cuda:N", help="default cuda; cpu in a rehearsal")
    add("--rehearse", action="store_true", help="tiny sizes on a CPU; figures mean nothing")
    args = parser.parse_args(argv)
    args.device = args.device or ("cpu" if args.rehearse else "cuda")
    if not args.rehearse and not (args.list and args.out) and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here; try the commands on a CPU with: --rehearse")
    return args


def _part(text: str) -> Part:
    named = {part.name: part for part in PARTS}
    numbered = {str(number): part for number, part in enumerate(PARTS, 1)}
    part = named.get(text) or numbered.get(text)
    if part is None:
        raise argparse.ArgumentTypeError(f"no part {text!r}; expected 1 to {len(PARTS)}")
    return part


if __name__ == "__main__":
    raise SystemExit(run_command(main))
