"""Sweeps as real processes: killed, stopped or started twice, no run is trained twice."""

from __future__ import annotations

import contextlib
import os
import platform
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from engine.config.schema import Checkpoint, Config, Data, Model, Run, Runtime, Train
from engine.sweep import live
from engine.sweep.executor import Job, Outcome
from engine.sweep.processes import Processes, devices_of
from tests.support.processes import WarmProcess, python, start, start_warm
from tests.support.sweeps import Sweep

LONG = """
  - id: "1"
    title: Long enough to be stopped in the middle
    axes: {optim.lr: [0.05, 0.1, 0.15]}
"""


EPOCHS = 10  # some tenths of a second
SELDOM = ("--checkpoint.every_epochs", "6")  # the disk is what such runs wait for


def _start(sweep: Sweep, *more: str) -> WarmProcess:
    return start_warm("sweep", *sweep.arguments(*SELDOM, *more))


def _until(process: WarmProcess, message: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if message in line:
            return
    raise AssertionError(f"the process ended without {message!r}")


def _children(parent: int) -> list[int]:
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            children.append(int(path.parent.name))
    return children


def _first_child(process: WarmProcess) -> int:
    while not (children := _children(process.pid)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return children[0]


def _gone(processes: list[int], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{process}").exists() for process in processes):
            return True
        time.sleep(0.05)
    return False


def _has_begun(sweep: Sweep, runs: int) -> bool:
    """Whether that many runs have trained an epoch."""
    logs = [path.read_text().count("\n") for path in sweep.root.glob("*/log.jsonl")]
    return sum(lines > 0 for lines in logs) >= runs


def _wait(sweep: Sweep, process: WarmProcess, runs: int) -> None:
    while not _has_begun(sweep, runs):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_two_sweeps_started_at_once_share_the_runs(sweep: Sweep) -> None:
    axis = ", ".join(str(number / 100) for number in range(1, 7))
    sweep.write(f'  - {{id: "1", title: Many, axes: {{optim.lr: [{axis}]}}}}', epochs=3)
    both = [_start(sweep) for _ in range(2)]
    ended = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    executions = sweep.query("SELECT owner, outcome FROM executions")
    assert [outcome for _, outcome in executions] == ["done"] * 6
    assert len({owner for owner, _ in executions}) == 2, "one process had all runs: no proof"
    assert sorted(sweep.printed()) == sorted(sweep.records()), "each result was printed once"
    assert ended[0][0] == ended[1][0], "both print all results"


def _killed(sweep: Sweep, process: WarmProcess) -> None:
    """Kill a sweep; its runs end with it."""
    children = _children(process.pid)
    process.kill()
    process.communicate()
    assert _gone(children), "runs went on alone"


def _finish(sweep: Sweep, *more: str) -> None:
    """The same command to its end: every run is finished, none was trained twice."""
    stamps = sweep.stamps()
    process = _start(sweep, *more)
    _out, err = process.communicate(100)
    assert process.returncode == 0, err
    trained = Counter(sweep.query("SELECT fingerprint FROM executions WHERE outcome = 'done'"))
    assert set(trained.values()) <= {1}
    assert sorted(sweep.printed()) == sorted(sweep.records()), "each result was printed once"
    assert {name: sweep.stamps()[name] for name in stamps} == stamps
    for record in sweep.records().values():
        assert (record["status"], record["epochs"], record["steps"]) == (
            "finished",
            EPOCHS,
            5 * EPOCHS,
        )


def test_after_a_kill_no_run_is_trained_twice(sweep: Sweep) -> None:
    sweep.write(LONG, epochs=EPOCHS)
    process = _start(sweep)
    _wait(sweep, process, 2)
    _killed(sweep, process)
    _finish(sweep)
    orphaned = sweep.query("SELECT name FROM runs WHERE orphaned")
    assert len(orphaned) == 1, "that run got a process of its own"


@pytest.mark.slow
def test_after_kills_of_a_run_and_of_all_processes_no_run_is_trained_twice(sweep: Sweep) -> None:
    sweep.write(LONG, epochs=EPOCHS)
    for turn in range(2):
        process = _start(sweep, "--jobs", "2")
        first = _first_child(process)
        if turn == 0:
            os.kill(first, signal.SIGKILL)  # a run alone
            _until(process, "failed, will be retried: killed by SIGKILL")
        _wait(sweep, process, 1 + turn)
        _killed(sweep, process)  # and all at once
    _finish(sweep, "--jobs", "2")


def test_a_sweep_whose_output_nobody_reads_ends_as_any_other(sweep: Sweep) -> None:
    sweep.write('  - {id: "1", title: One, axes: {optim.lr: [0.1, 1.0e+39]}}', epochs=1)
    read, sink = os.pipe()
    os.close(read)
    process = start_warm("sweep", *sweep.arguments("--retries", "0"), stdout=sink, stderr=sink)
    os.close(sink)
    assert process.wait() == 1, "one run fails, as it should"
    statuses = [record["status"] for record in sweep.records().values()]
    assert sorted(statuses) == ["failed", "finished"]
    assert sweep() == 1, "and is set aside"


TERMINAL = """
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
while 0 not in select.select([0, terminal], [], [])[0]:
    os.read(terminal, 65536)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["0", "2"])
def test_a_sweep_whose_terminal_is_closed_saves_its_runs(sweep: Sweep, jobs: str) -> None:
    sweep.write(LONG, epochs=1000)
    command = ("-m", "engine.sweep", *sweep.arguments(*SELDOM, "--jobs", jobs))
    process = start(*python("-c", TERMINAL, *command), stdin=subprocess.PIPE)
    while not _has_begun(sweep, 1):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    out, err = process.communicate("close\n", 300)
    assert out == "75\n", err
    for record in sweep.records().values():
        assert record["status"] == "interrupted" and record["saved_step"] == record["steps"]


def test_a_run_that_is_cancelled_saves_a_checkpoint(sweep: Sweep, tmp_path: Path) -> None:
    config = Config(
        data=Data(train=str(sweep.files.train), test=str(sweep.files.test)),
        model=Model(blocks=(1, 1), widths=(4,)),
        train=Train(epochs=200, batch_size=16),
        runtime=Runtime(device="cpu", precision="fp32"),
        run=Run(root=str(sweep.root), name="one"),
        checkpoint=Checkpoint(every_epochs=0),
    )
    executor = Processes(tmp_path / "configs", [None], jobs=1, cores=1)
    job = Job("a run", config, tmp_path / "logs" / "one.log")
    before = set(_children(os.getpid()))  # other tests' helpers, torch's compilers among them
    ticket = executor.submit(job)
    (child,) = set(_children(os.getpid())) - before
    while not _has_begun(sweep, 1):
        assert not executor.ended(0.02)
    executor.cancel(ticket)
    ((ended, end),) = executor.ended(20)
    assert ended == ticket and end.outcome is Outcome.STOPPED
    assert "stopped after step" in end.output and end.host == platform.node()
    assert _gone([child])
    (record,) = sweep.records().values()
    assert record["status"] == "interrupted" and record["saved_step"] == record["steps"] > 0


def test_jobs_are_spread_over_the_devices_and_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert devices_of("auto", 0, None) == devices_of("auto", 1, "3") == [None]
    assert devices_of("cpu", 4, None) == devices_of("cuda:2", 4, None) == [None]
    assert devices_of("auto", 3, None) == ["0", "1", "2"]
    assert devices_of("auto", 2, "5, GPU-abc") == ["5", "GPU-abc"]
    started: list[tuple[str | None, str]] = []
    processes: list[Fake] = []

    class Fake:
        pid = 1

        def __init__(self, command: list[str], env: dict[str, str], **rest: object) -> None:
            text = Path(command[-1]).read_text()
            threads = re.findall(r"^  threads: (\d+)", text, re.M)
            started.append((env.get("CUDA_VISIBLE_DEVICES"), threads[0]))
            self.code: int | None = None
            processes.append(self)

        def poll(self) -> int | None:
            return self.code

    monkeypatch.setattr(subprocess, "Popen", Fake)
    executor = Processes(tmp_path, devices_of("auto", 3, None), jobs=2, cores=16)
    assert executor.slots == 6
    job = Job("x", Config(), tmp_path / "x.log")
    tickets = [executor.submit(job) for _ in range(5)]
    assert executor.room == 1
    assert [device for device, _ in started] == ["0", "1", "2", "0", "1"]
    assert {threads for _, threads in started} == {"2"}
    processes[1].code = 0
    ((ended, end),) = executor.ended(0)
    assert ended == tickets[1] and end.outcome is Outcome.DONE
    assert end.host == f"{platform.node()}, GPU 1"
    assert executor.room == 2 and not executor.ended(0)
    executor.submit(job)
    assert started[-1][0] in ("1", "2")


def test_on_a_terminal_a_table_shows_running_finished_and_remaining_runs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.write(LONG.replace("0.1, 0.15", "0.1"), epochs=5)
    monkeypatch.setattr(live, "REDRAW_SECONDS", 0.01)
    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # how a terminal's end reads here
            while part := os.read(master, 65536):
                shown.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with open(slave, "w") as terminal, monkeypatch.context() as context:
        context.setattr(sys, "stderr", terminal)
        assert sweep(*SELDOM) == 0
    reader.join()
    os.close(master)
    text = b"".join(shown).decode()
    assert "0 of 2 done, 1 running" in text
    assert re.search(r"1/lr=0.05/s0  resnet11_w4  epoch \d+/5", text)
    assert re.search(r"1 of 2 done.*about .* left", text)
    assert "2 of 2 done" in text
    assert "\x1b[J" in text and "epoch" not in text.rpartition("\x1b[J")[2], "the table is erased"
