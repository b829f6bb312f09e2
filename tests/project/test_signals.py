"""Signals: the first asks the command to stop, the second ends it, also during the imports."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from engine import train
from engine.errors import run_command
from tests.support.data import Files
from tests.support.processes import SIGNALS, python, run, start
from tests.support.runs import exact_flags


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import time; from engine.signals import Stop\n"
        "with Stop():\n    print('ready', flush=True)\n    time.sleep(60)\n    time.sleep(60)"
    )
    with start(*python("-c", code)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(n, marks=pytest.mark.slow) for n in SIGNALS if n != signal.SIGTERM),
    ],
)
def test_a_signal_during_the_imports_stops_before_the_first_step(
    files: Files, tmp_path: Path, number: int
) -> None:
    flags = exact_flags(files, tmp_path, 1, 32)
    process = start(*python("-m", "engine.train", *flags))
    while not _listens(process.pid, SIGNALS[-1]):  # long before torch
        assert process.poll() is None
    process.send_signal(number)
    _, output = process.communicate(timeout=200)
    assert process.returncode == 75, output
    assert "stopped after step 0" in output
    assert run_command(train.main, flags) == 0


STOPPING = (
    "import signal, sys, time; from engine.signals import Stop\n"
    "signal.signal(signal.SIGHUP, signal.Handlers(int(sys.argv[1])))\n"
    "with Stop() as stop:\n    print('ready', flush=True)\n"
    "    while not stop.requested: time.sleep(0.01)\n"
    "    print('stopping', flush=True)\n    time.sleep(0.5)\n    print('saved', flush=True)"
)


def test_a_closed_terminal_may_say_so_several_times() -> None:
    with start(*python("-c", STOPPING, str(int(signal.SIG_DFL)))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "stopping\n"
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            time.sleep(0.02)
        assert process.stdout.readline() == "saved\n"
        assert process.wait(60) == 0


def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    with start(*python("-c", STOPPING, str(int(signal.SIG_IGN)))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=200)[0] == "stopping\nsaved\n"
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("run_module('engine.evaluate', run_name='__main__')", "torch"),
        ("run_path('writers/cifar.py', run_name='__main__')", "engine.config.options"),
    ],
)
def test_ctrl_c_during_the_imports_is_one_line(command: str, first: str) -> None:
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
    done = run(*python("-c", pressing))
    assert (done.returncode, done.stderr) == (130, "error: stopped by Ctrl-C\n")


def _listens(process: int, number: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
