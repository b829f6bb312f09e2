"""`engine.launch`: real torchrun, real deaths of ranks at bad moments."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from engine import launch, train
from engine.errors import run_command
from engine.runs.directory import RunFolder
from tests.support.data import Files
from tests.support.processes import python, start
from tests.support.runs import Call, exact_flags

EPOCHS = 12  # of 10 steps
SECONDS = 250


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--ranks 0 --", "--ranks 0: expected 1 or more"),
        ("--ranks 2 --nodes 3:2 --", "two that rise"),
        ("--ranks 2 --nodes 2 --", "machines need one HOST:PORT"),
        ("--ranks 2 --restarts -1 --", "expected 0 or more"),
        (
            "--ranks 3 -- --model.name resnet111 --train.batch_size 128",
            "128 images per step cannot be shared equally",
        ),
        ("--ranks 2 -- --train.epoch 3", "did you mean"),
        ("--ranks 2 -- --model.name resnet111 --describe", "give it to python -m engine.train"),
        ("--ranks 2 --train.epochs 3", "unrecognized arguments"),
    ],
)
def test_mistakes_are_refused_before_any_rank_starts(call: Call, words: str, problem: str) -> None:
    code, _, err = call(launch.main, *words.split())
    assert code == 2
    assert problem in err and "Traceback" not in err


@contextlib.contextmanager
def _launched(flags: list[str], log: Path) -> Iterator[Popen[str]]:
    """A launch of two ranks that writes its output to `log`."""
    with open(log, "w") as stream:
        command = python("-m", "engine.launch", "--ranks", "2", "--", *flags)
        process = start(*command, stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        for pid in (*_ranks(process).values(), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(SECONDS)


def _ranks(process: Popen[str]) -> dict[str, int]:
    """The processes of the ranks by number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"engine.rank" in words and str(process.pid).encode() in words:
                lines = (entry / "environ").read_bytes().split(b"\0")
                number = next(line for line in lines if line.startswith(b"RANK="))
                found[number[5:].decode()] = int(entry.name)
    return found


def _until(true: Callable[[], object], log: Path) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < SECONDS, log.read_text()
        time.sleep(0.005)
    return time.monotonic() - began


def _saved(root: Path) -> int:
    """The step of the newest whole checkpoint."""
    names = (root / "run" / "checkpoints").glob("step-*.json")
    return max((int(path.stem[5:]) for path in names), default=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "when"),
    [pytest.param("0", "step", marks=pytest.mark.long), ("1", "step"), ("0", "checkpoint")],
)
def test_after_a_rank_is_killed_training_goes_on_and_nothing_is_recorded_twice(
    files: Files, tmp_path: Path, rank: str, when: str
) -> None:
    flags = [*exact_flags(files, tmp_path, EPOCHS, 8), "--checkpoint.every_steps", "4"]
    log, checkpoints = tmp_path / "log", tmp_path / "run" / "checkpoints"
    with _launched(flags, log) as process:
        _until(lambda: "epoch  2/" in log.read_text(), log)
        ranks = _ranks(process)
        if when == "checkpoint":  # a file that is being written
            _until(lambda: list(checkpoints.glob("*.partial")), log)
        os.kill(ranks[rank], signal.SIGKILL)
        before = _saved(tmp_path)
        seconds = _until(lambda: "continuing after step" in log.read_text(), log)
        print(f"training again {seconds:.1f} s after rank {rank} was killed ({when})")
        assert process.wait(SECONDS) == 0, log.read_text()
    text = log.read_text()
    resumed = int(text.partition("continuing after step ")[2].split()[0])
    assert resumed >= before - 4, "more than one interval was lost"
    lines = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    one = exact_flags(files, tmp_path / "one", EPOCHS, 8)
    assert run_command(train.main, one) == 0
    whole = RunFolder(tmp_path / "one" / "run")
    assert lines[-1]["sample_trace"] == whole.log_lines()[-1]["sample_trace"]
    assert RunFolder(tmp_path / "run").finished_record()["steps"] == lines[-1]["step"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["rank 1", "launch", "launch killed", "its terminal closed"])
def test_a_signal_anywhere_saves_the_step_and_ends_with_75(
    files: Files, tmp_path: Path, target: str
) -> None:
    flags = [*exact_flags(files, tmp_path, 200, 8), "--checkpoint.every_epochs", "0"]
    log = tmp_path / "log"
    with _launched(flags, log) as process:
        _until(lambda: "epoch   2/" in log.read_text(), log)
        ranks = _ranks(process)
        if target == "rank 1":
            os.kill(ranks["1"], signal.SIGUSR1)
        elif target == "its terminal closed":
            for _ in range(3):
                process.send_signal(signal.SIGHUP)
                time.sleep(0.1)
        else:
            process.send_signal(signal.SIGKILL if target == "launch killed" else signal.SIGUSR1)
        code = process.wait(SECONDS)
        assert code == (-signal.SIGKILL if target == "launch killed" else 75), log.read_text()
        _until(lambda: not _ranks(process), log)
    record = RunFolder(tmp_path / "run").read_record()
    assert record is not None and record["status"] == "interrupted"
    assert record["steps"] == record["saved_step"] == _saved(tmp_path)
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_mistake_in_the_data_is_no_reason_to_start_again(files: Files, tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = [*exact_flags(files, tmp_path, 2, 8)]
    flags[flags.index("--data.test") + 1] = str(tmp_path / "none.beton")
    with _launched(flags, log) as process:
        assert process.wait(SECONDS) == 2, log.read_text()
    assert log.read_text().count("error: ") == 1
