"""One part, run in a process of its own: stopped at its limit, its result kept as a file."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu import card, wheels
from benchmarks.gpu.parts import Part, Setup
from benchmarks.measuring import machine
from benchmarks.measuring.child import ROOT
from engine import atomic
from engine.errors import OK, RESUMABLE

RESULT, UNFINISHED = "result.json", "-unfinished"  # a folder that stays where all is killed
TAIL = 12_000  # characters of a part's output that are kept
DONE, FAILED, STOPPED = "done", "failed", "stopped at its limit"
INCOMPLETE, IMPOSSIBLE = "left something out", "not possible here"
OF_EXIT = {OK: DONE, RESUMABLE: INCOMPLETE, None: STOPPED}
EXPECTED = ("not measured", "left out by --without")  # reasons of figures that nobody asked for
FIGURES = 4  # of a result, in the table at the end


def content_of(out: Path, part: Part, *, rehearsal: bool) -> dict[str, Any]:
    """What the part's file says, written as a rehearsal or not; empty where it never ran so."""
    try:
        content = json.loads((out / f"{part.name}.json").read_text(encoding="utf-8"))
        return dict(content) if content["rehearsal"] == rehearsal else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def status(out: Path, part: Part, *, rehearsal: bool) -> str | None:
    """How the part ended before; None where it never ran."""
    said = content_of(out, part, rehearsal=rehearsal).get("status")
    return None if said is None else str(said)


def reason_against(part: Part, setup: Setup) -> str | None:
    """Why the part cannot run here."""
    if lacking := wheels.lacks(part.needs):
        return f"needs {', '.join(lacking)}: make wheelhouse"
    if part.cifar10 and not (setup.source.has_cifar10 or setup.rehearsal):
        return "an accuracy on the built-in images means nothing: name CIFAR-10 with --data"
    return None


def run(part: Part, setup: Setup, out: Path, limit: float) -> dict[str, Any]:
    """Run the part to its end or its limit and write its file; what that holds."""
    reason = reason_against(part, setup)
    if reason is not None:
        content = _content(part, setup) | {"status": IMPOSSIBLE, "left_out": [reason]}
    else:
        folder = out / f"{part.name}{UNFINISHED}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        content = _run(part, setup, folder / RESULT, limit)
        for extra in sorted(folder.iterdir()):
            if extra.name != RESULT and extra.is_file():
                atomic.write_bytes(out / f"{part.name}-{extra.name}", extra.read_bytes())
        shutil.rmtree(folder)
    atomic.write_json(out / f"{part.name}.json", content)
    return content


def headline(content: dict[str, Any]) -> str:
    """The first figures of a result, for a table."""
    result = content.get("result")
    if not isinstance(result, dict):
        return ""
    if "steps" in result:
        return ", ".join(
            f"{each['step']} {'ok' if each['ok'] else 'FAILED'}" for each in result["steps"]
        )
    figures = dict(result.get("figures", {}))
    for network, each in result.get("accuracy", {}).items():
        figures[f"{network}, %"] = 100 * each["mean"]
    return ", ".join(f"{key} {value:.4g}" for key, value in list(figures.items())[:FIGURES])


def _run(part: Part, setup: Setup, result: Path, limit: float) -> dict[str, Any]:
    command = part.command(setup, result)
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if setup.rehearsal:
        environment |= {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}  # nothing compiles
    load, before, began = machine.load(), card.state(setup.device), time.monotonic()
    cpu = _cpu_seconds()
    code, output = _watched(command, environment, limit)
    measured: Any = None
    with contextlib.suppress(OSError, ValueError):
        measured = json.loads(_portable(result.read_text(encoding="utf-8"), setup))
    said = _portable(output, setup)[-TAIL:].splitlines()
    words = [Path(word).name if Path(word).is_absolute() else word for word in command]
    left_out = _left_out(measured)
    end = OF_EXIT.get(code, FAILED)
    state = {"load_before": load, "card_before": before, "card_after": card.state(setup.device)}
    return _content(part, setup) | {
        "status": INCOMPLETE if end == DONE and left_out else end,
        "exit": code,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu, 1),
        "command": words,
        "conditions": {**machine.describe(setup.device), **state},
        "left_out": left_out,
        "result": measured,  # of a part that was stopped: what it had measured by then
        "said": said,
    }


def _content(part: Part, setup: Setup) -> dict[str, Any]:
    return {
        "part": part.name,
        "what": part.what,
        "rehearsal": setup.rehearsal,
        "data": setup.source.as_json(),
        "seconds": 0.0,
        "said": [],
    }


def _left_out(result: Any) -> list[str]:
    """What a part did not measure, with the reasons."""
    if not isinstance(result, dict):
        return []
    missing = dict(result.get("missing", {})).items()
    why = [f"{key}: {text}" for key, text in missing if not str(text).startswith(EXPECTED)]
    return [*map(str, result.get("left_out", [])), *why]


def _cpu_seconds() -> float:
    """Of all processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _portable(text: str, setup: Setup) -> str:
    """`text` without the folders of this machine."""
    for folder, name in (
        (setup.source.path, setup.source.path.name), (setup.work, "work"), (ROOT, "."),
    ):  # fmt: skip
        text = text.replace(str(folder), name)
    return text


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
