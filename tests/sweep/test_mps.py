"""NVIDIA's Multi-Process Service for a sweep, with a stand-in for its program."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from engine.config.schema import Config
from engine.errors import UserError
from engine.sweep import mps, mps_keeper
from engine.sweep.__main__ import main
from engine.sweep.executor import Job, Outcome
from engine.sweep.mps import Mps
from engine.sweep.processes import Processes
from tests.support.processes import python, start
from tests.support.runs import Call

DAEMON = """#!/bin/sh
# -f: run in the foreground until told to quit; else: commands to the daemon of the folder.
pipes="$CUDA_MPS_PIPE_DIRECTORY" logs="$CUDA_MPS_LOG_DIRECTORY"
if [ "$1" = -f ]; then
    echo "$$" >> "$logs/pids"
    if [ -n "$FAKE_BROKEN" ]; then echo "no permission" > "$logs/control.log"; exit 1; fi
    echo "${CUDA_VISIBLE_DEVICES-all}" > "$logs/sees"
    : > "$pipes/control"
    while [ ! -e "$pipes/quit" ]; do sleep 0.05; done
    rm "$pipes/control"
    exit 0
fi
read -r command
[ -e "$pipes/control" ] || { echo "Cannot find MPS control daemon process"; exit 1; }
echo "$command" >> "$logs/commands"
case "$command" in
quit*) [ -n "$FAKE_STUCK" ] || : > "$pipes/quit" ;;
get_server_list) [ ! -e "$pipes/served" ] || echo 4711 ;;
esac
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / mps_keeper.PROGRAM
    path.parent.mkdir()
    path.write_text(DAEMON)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(mps.VISIBLE, raising=False)
    return path


def _running(logs: Path) -> list[int]:
    numbers = map(int, (logs / "pids").read_text().split())
    return [number for number in numbers if _is_alive(number)]


def _is_alive(number: int) -> bool:
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z"


def test_each_gpu_has_a_daemon_for_as_long_as_it_is_needed(program: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with Mps(["5", "GPU-abc"], 2, logs) as service:
        folders = set()
        for device in ("5", "GPU-abc"):
            assert len(_running(logs / device)) == 1
            assert (logs / device / "sees").read_text().strip() == device
            environment = service.environment(device)
            assert environment[mps.VISIBLE] == "0", "a daemon numbers its GPUs from 0"
            assert environment[mps.LOGS] == str(logs / device)
            folders.add(Path(environment[mps.PIPES]))
            assert not service.serves(device)
            (Path(environment[mps.PIPES]) / "served").touch()
            assert service.serves(device)
        assert len(folders) == 2 and all(folder.is_dir() for folder in folders)
    assert not _running(logs / "5") and not _running(logs / "GPU-abc")
    assert not any(folder.exists() for folder in folders)
    assert "quit -t 60" in (logs / "5" / "commands").read_text()


def test_a_killed_sweep_leaves_no_daemon(program: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from engine.sweep.mps import Mps\n"
        "with Mps([None], 3, Path(sys.argv[1])) as service:\n"
        "    print(service.environment(None)['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(60)"
    )
    process = start(*python("-c", code, tmp_path / "logs"))
    assert process.stdout is not None
    assert process.stdout.readline() == "0,1,2\n"
    logs = tmp_path / "logs" / "all"
    assert len(_running(logs)) == 1 and (logs / "sees").read_text() == "all\n"
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while _running(logs) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _running(logs) and "quit" in (logs / "commands").read_text()


def test_a_daemon_that_does_not_quit_is_killed(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes, logs = tmp_path / "pipes", tmp_path / "logs"
    pipes.mkdir()
    logs.mkdir()
    monkeypatch.setenv("FAKE_STUCK", "1")
    folders = {mps.PIPES: str(pipes), mps.LOGS: str(logs)}
    keeper = start(
        *python("-m", "engine.sweep.mps_keeper", program, "0", "0"),
        environment=folders, stdin=subprocess.PIPE,
    )  # fmt: skip
    while not (pipes / "control").exists():
        assert keeper.poll() is None
        time.sleep(0.02)
    keeper.communicate(timeout=200)
    assert keeper.returncode == 256 - signal.SIGKILL
    assert not _running(logs) and not pipes.exists()


def test_what_is_wrong_with_the_service_is_said(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BROKEN", "1")
    with pytest.raises(UserError, match="did not start: no permission"), Mps([None], 1, tmp_path):
        pass
    program.unlink()
    with pytest.raises(UserError, match="not installed"), Mps([None], 1, tmp_path):
        pass


def test_processes_are_served_until_they_fail(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str | None, str | None]] = []

    class Fake:
        pid = 1

        def __init__(self, command: list[str], env: dict[str, str], **rest: object) -> None:
            started.append((env.get(mps.PIPES), env.get(mps.VISIBLE)))

        def poll(self) -> int | None:
            return 1

    job = Job("x", Config(), tmp_path / "x.log")
    with Mps(["3"], 1, tmp_path / "logs") as service, monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Fake)
        executor = Processes(tmp_path, ["3"], jobs=3, cores=1, mps=service)
        executor.submit(job)
        executor.submit(Job("y", Config(), tmp_path / "y.log", isolated=True))
        assert [end.outcome for _, end in executor.ended(0)] == [Outcome.FAILED] * 2
        executor.submit(job)
        served = service.environment("3")[mps.PIPES]
    assert started == [(served, "0"), (None, "3"), (None, "3")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--share mps", "several processes; give --jobs N"),
        ("--share mps --jobs 99", "serves 48 processes"),
        ("--share mps --jobs 2 --on ray", "this machine's GPUs"),
        ("--share streams --jobs 2", "expected slices or mps"),
    ],
)
def test_where_it_does_not_fit_it_is_refused(call: Call, words: str, message: str) -> None:
    code, _, err = call(main, *words.split())
    assert code == 2 and message in err
