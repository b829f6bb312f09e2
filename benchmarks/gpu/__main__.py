"""Everything worth measuring on a GPU, in parts of at most eight minutes, the worthiest first.

    python -m benchmarks.gpu                 all parts that are not done yet, into
                                             benchmarks/results/<device>/
    python -m benchmarks.gpu --minutes 30    as many as are expected to fit
    python -m benchmarks.gpu --rehearse      tiny sizes on a CPU, to try every command

A part is a process of its own, stopped at its limit; a failed one is noted, and the next begins.
Each part has a JSON file, which tells whether it is done: the same command goes on with the
others. Exit codes: 0 all done, 1 a part failed, 75 time is up and the same command goes on.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.parts import MOST, PARTS, Part, Plan
from benchmarks.loader.processes import ROOT
from benchmarks.measuring import machine
from engine import atomic
from engine.errors import FAILED, OK, RESUMABLE, UserError, run_command
from engine.parser import Parser

PROGRAM = "python -m benchmarks.gpu"
RESULTS = ROOT / "benchmarks" / "results"
DATA = ("data/cifar10_train.beton", "data/synthetic_train.beton")
REHEARSED_IMAGES = 80
TAIL = 6000  # letters of what a part printed that are kept
DONE, PART_FAILED, STOPPED = "done", "failed", "stopped at its limit"
ENOUGH = 20.0  # seconds: a part with less left than that is not begun


def main(argv: Sequence[str]) -> int:
    """The command."""
    asked = _arguments(argv)
    out = Path(asked.out) if asked.out else RESULTS / _folder(asked)
    if asked.list:
        _list(out, asked.rehearse)
        return OK
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    states: list[str | None] = []
    with _data(asked) as data:
        for part in asked.part or PARTS:
            if status(out, part, asked.rehearse) == DONE and not asked.again:
                _say(f"{part.name}: done before")
                continue
            left = 60 * asked.minutes - (time.monotonic() - began)
            if left < (ENOUGH if asked.rehearse else part.seconds):
                _say(f"{part.name}: not begun, {max(left, 0):.0f} s are left")
                states.append(None)
                continue
            states.append(_run(part, asked, out, data, min(MOST, left)))
    if PART_FAILED in states or STOPPED in states:
        return FAILED
    return RESUMABLE if None in states else OK


def status(out: Path, part: Part, rehearsal: bool) -> str | None:
    """How an earlier run of the part ended; None where there was none of this kind."""
    try:
        found = json.loads((out / f"{part.name}.json").read_text(encoding="utf-8"))
        return str(found["status"]) if found["rehearsal"] == rehearsal else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_part(part: Part, plan: Plan, limit: float) -> dict[str, Any]:
    """Run a part's command to its end or its limit; what is kept of it."""
    command = part.command(plan)
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if plan.rehearsal:
        environment |= {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}  # nothing compiles
    load, began = machine.load(), time.monotonic()
    code, said = _watched(command, environment, limit)
    result = None
    with contextlib.suppress(OSError, ValueError):
        result = json.loads(_anywhere(plan.result.read_text(encoding="utf-8"), plan))
    return {
        "part": part.name,
        "what": part.what,
        "status": {0: DONE, None: STOPPED}.get(code, PART_FAILED),
        "exit": code,
        "rehearsal": plan.rehearsal,
        "seconds": round(time.monotonic() - began, 1),
        "command": [Path(word).name if Path(word).is_absolute() else word for word in command],
        "conditions": {**machine.describe(plan.device), "load_before": load},
        "result": result,  # where the part was stopped: what it had found by then
        "said": _anywhere(said, plan)[-TAIL:].splitlines(),
    }


def _anywhere(text: str, plan: Plan) -> str:
    """`text` without the folders of this machine."""
    return text.replace(str(plan.data), plan.data.name).replace(str(ROOT), ".")


def _run(part: Part, asked: argparse.Namespace, out: Path, data: Path, limit: float) -> str:
    _say(f"{part.name}: {part.what} (at most {limit / 60:.1f} minutes)")
    with tempfile.TemporaryDirectory(prefix="gpu-part-") as folder:
        plan = Plan(data, asked.device, asked.rehearse, Path(folder) / "result.json")
        found = run_part(part, plan, limit)
    atomic.write_json(out / f"{part.name}.json", found)
    _say(f"{part.name}: {found['status']} after {found['seconds']:.0f} s")
    if found["status"] != DONE:
        for line in found["said"][-5:]:
            _say(f"    {line}")
    return str(found["status"])


def _watched(command: list[str], environment: dict[str, str], limit: float) -> tuple[Any, str]:
    """Exit code (None: stopped with all its children) and what was printed, errors among it."""
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


@contextlib.contextmanager
def _data(asked: argparse.Namespace) -> Iterator[Path]:
    """The training set; drawn for a rehearsal that names none."""
    for name in [asked.data] if asked.data else DATA if not asked.rehearse else ():
        path = Path(name).resolve()
        if path.exists():
            yield path
            return
    if not asked.rehearse or asked.data:
        raise UserError(f"{asked.data or DATA[0]}: no such file; name a training set with --data")
    from benchmarks.measuring.data import drawn  # brings FFCV's writer with it

    with tempfile.TemporaryDirectory(prefix="gpu-rehearsal-") as folder:
        yield drawn(Path(folder), REHEARSED_IMAGES)


def _folder(asked: argparse.Namespace) -> str:
    """A name for the device."""
    if asked.rehearse:
        return "rehearsal"
    return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(asked.device).lower()).strip("-")


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
    add("--list", action="store_true", help="the parts, what each is for, and whether it is done")
    add("--minutes", type=float, default=1e6, metavar="M", help="begin no part that would not fit")
    add("--again", action="store_true", help="repeat what is done")
    add("--out", metavar="FOLDER", help="default benchmarks/results/<device>")
    add("--data", metavar="X.beton", help=f"the training set (default {DATA[0]})")
    add("--device", metavar="cuda:N", help="default cuda; cpu in a rehearsal")
    add("--rehearse", action="store_true", help="tiny sizes on a CPU; figures mean nothing")
    asked = parser.parse_args(argv)
    asked.device = asked.device or ("cpu" if asked.rehearse else "cuda")
    if not asked.rehearse and not (asked.list and asked.out) and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here; try the commands on a CPU with: --rehearse")
    return asked


def _part(text: str) -> Part:
    named = {part.name: part for part in PARTS}
    numbered = {str(number): part for number, part in enumerate(PARTS, 1)}
    found = named.get(text) or numbered.get(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"no part {text!r}; expected 1 to {len(PARTS)}")
    return found


if __name__ == "__main__":
    raise SystemExit(run_command(main))
