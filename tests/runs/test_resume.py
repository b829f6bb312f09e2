"""Stopped anywhere, by a real signal, a run ends as if it had never been stopped.

The field's most common fault is a resume that silently replays or skips data. It cannot be seen
in the loss, so the sample ids are compared as well: their digest is part of log and record.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from engine.runs import checkpoint
from engine.runs.directory import RunFolder
from engine.runs.state import State
from engine.signals import SIGNALS
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.paths import ROOT

EXACT = (
    "--runtime.exact --runtime.device cpu --runtime.precision fp32 --model.blocks 1,1 "
    "--model.widths 8 --model.se stem --model.se_reduction 2 --model.dropout 0.2 "
    "--train.seed 5 --run.name run"
).split()
TIMES = ("seconds", "images_per_second")


def _flags(files: Files, root: Path, epochs: int, batch: int) -> list[str]:
    length = ["--train.epochs", str(epochs), "--train.batch_size", str(batch)]
    return [*EXACT, *files.flags(), *length, "--run.root", str(root)]


def _outcome(root: Path) -> dict[str, Any]:
    """All that a run leaves, but for the times."""
    run = RunFolder(root / "run")
    record = run.read_record()
    assert record is not None
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    for content in (record, *lines):
        for key in TIMES:
            content.pop(key)
    record["config"]["run"] = None
    last = checkpoint.newest_valid(run.checkpoints, lambda line: None)
    assert last is not None
    state = checkpoint.pack(last.tensors)
    return {"record": record, "log": lines, "weights": run.weights.read_bytes(), "state": state}


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--optim.name", "adam"],
        "--optim.lookahead_k 2 --model.init orthogonal --data.limit 70".split(),
        "--optim.name adam --optim.lookahead_k 3 --schedule.name cyclic".split(),
    ],
    ids=["sgd", "adam", "lookahead", "adam, lookahead"],
)
def test_stopped_after_every_single_step_the_end_is_the_same_to_the_bit(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    epochs, batch = 2, 32
    steps = epochs * -(-TRAIN_IMAGES // batch)
    more = [*more, "--optim.lr", "0.01"]
    assert run_command(train.main, [*_flags(files, tmp_path / "whole", epochs, batch), *more]) == 0
    signals = itertools.cycle(SIGNALS)
    real = State.advance

    def signalled(state: State, *rest: Any) -> None:
        os.kill(os.getpid(), next(signals))  # a real one, in the middle of a step
        real(state, *rest)

    monkeypatch.setattr(State, "advance", signalled)
    flags = [*_flags(files, tmp_path / "parts", epochs, batch), *more]
    codes = [run_command(train.main, flags) for _ in range(steps + 1)]
    assert codes == [75] * steps + [0]
    assert _outcome(tmp_path / "parts") == _outcome(tmp_path / "whole")


def test_stopped_before_the_first_step_and_in_an_evaluation_nothing_is_lost(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(train.main, _flags(files, tmp_path / "whole", 2, 32)) == 0
    flags = _flags(files, tmp_path / "parts", 2, 32)
    for module_name, times in (("resume", 1), ("evaluate", 2)):
        left = [times]

        def stopping(*args: Any, real: Any, left: list[int] = left, **named: Any) -> Any:
            if left[0]:
                left[0] -= 1
                os.kill(os.getpid(), signal.SIGTERM)
            return real(*args, **named)

        with monkeypatch.context() as patch:
            if module_name == "resume":
                owner: Any = train.Run
            else:
                owner = train
            real = getattr(owner, module_name)
            patch.setattr(
                owner, module_name, lambda *a, real=real, **n: stopping(*a, real=real, **n)
            )
            assert [run_command(train.main, flags) for _ in range(times)] == [75] * times
    assert run_command(train.main, flags) == 0
    assert _outcome(tmp_path / "parts") == _outcome(tmp_path / "whole")


def _start(flags: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine.train", *flags],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    """What the process said, once it has ended well."""
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def _wait_for(process: subprocess.Popen[str], said: str) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        if said in line:
            return
        lines.append(line)
    raise AssertionError(f"the process ended without saying {said!r}: {''.join(lines)}")


@pytest.mark.timeout(300)
def test_ten_real_signals_at_random_moments_change_nothing(files: Files, tmp_path: Path) -> None:
    epochs, batch = 40, 8
    whole = _start(_flags(files, tmp_path / "whole", epochs, batch))
    moments = random.Random(0)
    stopped: list[int] = []
    for number in range(10):
        process = _start(_flags(files, tmp_path / "parts", epochs, batch))
        _wait_for(process, "writing to")
        time.sleep(moments.uniform(0.0, 0.25))
        process.send_signal(SIGNALS[number % len(SIGNALS)])
        _, rest = process.communicate(timeout=60)
        assert process.returncode == 75, rest
        assert "the same command continues" in rest
        record = RunFolder(tmp_path / "parts" / "run").read_record()
        assert record is not None
        assert record["status"] == "interrupted"
        stopped.append(record["steps"])
    last = _start(_flags(files, tmp_path / "parts", epochs, batch))
    assert f"continuing after step {stopped[-1]:,}" in _finish(last)
    _finish(whole)
    assert stopped == sorted(stopped)
    assert len(set(stopped)) > 5, "the signals fell together; nothing was shown"
    assert _outcome(tmp_path / "parts") == _outcome(tmp_path / "whole")


@pytest.mark.timeout(120)
def test_a_killed_run_continues_from_its_checkpoint(files: Files, tmp_path: Path) -> None:
    epochs, batch = 20, 8
    flags = _flags(files, tmp_path / "parts", epochs, batch)
    process = _start([*flags, "--checkpoint.every_steps", "7"])
    _wait_for(process, "epoch  3/")
    process.kill()
    process.communicate()
    again = _start([*flags, "--checkpoint.every_steps", "7"])
    assert "continuing after step" in _finish(again)
    _finish(_start(_flags(files, tmp_path / "whole", epochs, batch)))
    parts, whole = _outcome(tmp_path / "parts"), _outcome(tmp_path / "whole")
    for outcome in (parts, whole):
        outcome["record"]["config"]["checkpoint"] = None
    assert parts == whole


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    stubborn = (
        "import time; from engine.signals import Stop\n"
        "with Stop():\n    print('ready', flush=True)\n    time.sleep(60)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", stubborn]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 128 + signal.SIGINT


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_among_the_imports_is_heard(files: Files, tmp_path: Path, number: int) -> None:
    flags = _flags(files, tmp_path, 1, 32)
    process = _start(flags)
    while not _listens(process.pid, SIGNALS[-1]):  # long before torch
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=50)
    assert process.returncode == 75, said
    assert "stopped after step 0" in said
    assert run_command(train.main, flags) == 0


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("run_module('engine.evaluate', run_name='__main__')", "torch"),
        ("run_path('writers/cifar.py', run_name='__main__')", "engine.config.options"),
    ],
)
def test_ctrl_c_among_the_imports_is_one_line(command: str, first: str) -> None:
    pressing = (
        "import builtins, os, runpy, signal\n"
        "real = builtins.__import__\n"
        "def importing(name, *rest, **named):\n"
        f"    if name == {first!r}:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest, **named)\n"
        "builtins.__import__ = importing\n"
        f"runpy.{command}"
    )
    done = subprocess.run(
        [sys.executable, "-c", pressing], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (130, "error: stopped by Ctrl-C\n")


def _listens(process: int, number: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def test_one_and_two_threads_end_in_the_same_bits(files: Files, tmp_path: Path) -> None:
    for threads in ("1", "2"):
        flags = [*_flags(files, tmp_path / threads, 2, 32), "--runtime.threads", threads]
        assert run_command(train.main, flags) == 0
    one, two = _outcome(tmp_path / "1"), _outcome(tmp_path / "2")
    for outcome in (one, two):
        outcome["record"]["config"]["runtime"]["threads"] = None
    assert one == two
