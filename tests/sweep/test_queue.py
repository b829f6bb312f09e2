"""The queue of a sweep: one owner per run; dead owners and damage cost nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.sweep import queue
from engine.sweep.queue import DONE, FAILED, QUEUED, RUNNING, SET_ASIDE, Queue
from tests.support.processes import python, start

RUNS = {f"{number:064x}": f"run {number}" for number in range(16)}
ORDER = list(RUNS)


def _silent(line: str) -> None:
    raise AssertionError(line)


def _claims(base: Queue) -> list[str]:
    claimed = []
    while (claim := base.claim(ORDER)) is not None:
        claimed.append(claim[0])
        base.done(claim[0])
    return claimed


def test_runs_are_claimed_in_order_and_failed_ones_come_last(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, {ORDER[1]}, retry=False)
        claim = base.claim(ORDER)
        assert claim is not None and claim[0] == ORDER[0]
        assert base.failed(ORDER[0], "it broke", retries=1).state == FAILED
        assert _claims(base) == [*ORDER[2:], ORDER[0]]
        assert {row.state for row in base.rows().values()} == {DONE}


def test_a_run_is_set_aside_after_its_retries_with_its_last_error(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "failing"}, set(), retry=False)
        states = []
        for attempt in range(3):
            assert base.claim(ORDER) is not None
            states.append(base.failed(ORDER[0], f"error {attempt}", retries=2).state)
        assert states == [FAILED, FAILED, SET_ASIDE]
        assert base.claim(ORDER) is None
        base.enrol({ORDER[0]: "failing"}, set(), retry=False)
        assert base.rows()[ORDER[0]].error == "error 2"
        assert base.claim(ORDER) is None
        base.enrol({ORDER[0]: "failing"}, set(), retry=True)
        assert base.rows()[ORDER[0]].attempts == 0
        assert base.claim(ORDER) is not None


def test_the_records_decide_what_is_done(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert len(_claims(base)) == len(RUNS)
        base.enrol(RUNS, set(ORDER[3:]), retry=False)  # three folders were deleted
        assert _claims(base) == ORDER[:3]


WORKER = """
import sys, time
from pathlib import Path
from engine.sweep.queue import Queue
runs = [f"{number:064x}" for number in range(16)]
with Queue(Path(sys.argv[1]), print) as base:
    print("ready", flush=True)
    sys.stdin.readline()
    while (claim := base.claim(runs)) is not None:
        print(claim[0], flush=True)
        base.done(claim[0])
        time.sleep(0.1)  # a run takes its time; SQLite alone is not fair
"""


def _worker(folder: Path, code: str = WORKER) -> subprocess.Popen[str]:
    process = start(*python("-c", code, folder), stdin=subprocess.PIPE, stderr=None)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_of_four_processes_each_run_goes_to_one(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    workers = [_worker(tmp_path) for _ in range(4)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    claimed = [worker.communicate(timeout=50)[0].split() for worker in workers]
    assert sorted(each for some in claimed for each in some) == ORDER
    assert sum(bool(some) for some in claimed) > 1, "one process had all runs: no proof"


def test_the_claim_of_a_killed_process_is_taken_over_and_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    code = WORKER.replace("base.done(claim[0])", "sys.stdin.readline()")
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "only"}, set(), retry=False)
        holder = _worker(tmp_path, code)
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.write("go\n")
        holder.stdin.flush()
        assert holder.stdout.readline().strip() == ORDER[0]
        assert base.claim(ORDER) is None
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate(timeout=20)
        claim = base.claim(ORDER)
        assert claim is not None and claim[0] == ORDER[0]
        assert claim[1].orphaned == 1, "the next executor isolates it"


DAMAGES = {
    "no database at all": lambda path: path.write_bytes(b"hello" * 1000),
    "its first page overwritten": lambda path: _overwrite(path, 0),
    "a page in the middle overwritten": lambda path: _overwrite(path, 4096),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "another table": lambda path: _without_table(path),
}


def _overwrite(path: Path, first: int) -> None:
    content = bytearray(path.read_bytes())
    content[first : first + 2000] = os.urandom(2000)
    path.write_bytes(content)


def _without_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("DROP TABLE runs")
        base.commit()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_queue_is_kept_and_a_new_one_made(tmp_path: Path, damage: str) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    DAMAGES[damage](tmp_path / queue.FILE)
    damaged = (tmp_path / queue.FILE).read_bytes()
    warnings: list[str] = []
    with Queue(tmp_path, warnings.append) as base:
        base.enrol(RUNS, set(ORDER[5:]), retry=False)
        assert _claims(base) == ORDER[:5]
    assert len(warnings) == 1 and "queue.sqlite: damaged" in warnings[0]
    assert (tmp_path / "queue.sqlite.bad-1").read_bytes() == damaged


def test_an_empty_file_is_a_new_queue_and_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / queue.FILE).touch()
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    with closing(sqlite3.connect(tmp_path / queue.FILE)) as other:
        other.execute("PRAGMA user_version = 99")
    with (
        pytest.raises(UserError, match="a queue of format 99; this version reads 1"),
        Queue(tmp_path, _silent),
    ):
        pass


def test_peeking_at_the_queue_writes_nothing(tmp_path: Path) -> None:
    assert queue.peek(tmp_path / "nowhere") == {}
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "one", ORDER[1]: "two"}, set(), retry=False)
        base.claim(ORDER)
        rows = queue.peek(tmp_path)
        assert [rows[each].state for each in ORDER[:2]] == [RUNNING, QUEUED]
    (tmp_path / queue.FILE).write_bytes(b"no database")
    assert queue.peek(tmp_path) == {}
