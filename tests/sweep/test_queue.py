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
from engine.sweep import database, queue_rows
from engine.sweep.queue import Queue
from engine.sweep.queue_rows import DONE, FAILED, QUEUED, RUNNING, SET_ASIDE, QueueRow
from tests.support.processes import python, start

RUNS = {f"{number:064x}": f"run {number}" for number in range(16)}
ORDER = list(RUNS)


def _silent(line: str) -> None:
    raise AssertionError(line)


def _claims(base: Queue) -> list[str]:
    claimed = []
    while claims := base.claim(3):
        for fingerprint, _ in claims:
            claimed.append(fingerprint)
            base.done(fingerprint)
    return claimed


def test_runs_are_claimed_in_order_and_failed_ones_come_last(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, {ORDER[1]}, retry=False)
        assert [claim for claim, _ in base.claim()] == ORDER[:1]
        assert base.failed(ORDER[0], "it broke", retries=1).state == FAILED
        assert _claims(base) == [*ORDER[2:], ORDER[0]]
        assert {row.state for row in base.rows().values()} == {DONE}


def test_a_run_is_set_aside_after_its_retries_with_its_last_error(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "failing"}, set(), retry=False)
        states = []
        for attempt in range(3):
            assert base.claim()
            states.append(base.failed(ORDER[0], f"error {attempt}", retries=2).state)
        assert states == [FAILED, FAILED, SET_ASIDE]
        assert not base.claim()
        base.enrol({ORDER[0]: "failing"}, set(), retry=False)
        assert base.rows()[ORDER[0]].error == "error 2"
        assert not base.claim()
        base.enrol({ORDER[0]: "failing"}, set(), retry=True)
        assert base.rows()[ORDER[0]].attempts == 0
        assert base.claim()


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
runs = {f"{number:064x}": str(number) for number in range(16)}
with Queue(Path(sys.argv[1]), print) as base:
    base.enrol(runs, (), retry=False)
    print("ready", flush=True)
    sys.stdin.readline()
    while claims := base.claim():
        print(claims[0][0], flush=True)
        base.done(claims[0][0])
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
    claimed = [worker.communicate(timeout=200)[0].split() for worker in workers]
    assert sorted(each for some in claimed for each in some) == ORDER
    assert sum(bool(some) for some in claimed) > 1, "one process had all runs: no proof"


def test_the_claim_of_a_killed_process_is_taken_over_and_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    code = WORKER.replace("base.done(claims[0][0])", "sys.stdin.readline()")
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "only"}, set(), retry=False)
        holder = _worker(tmp_path, code)
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.write("go\n")
        holder.stdin.flush()
        assert holder.stdout.readline().strip() == ORDER[0]
        assert not base.claim()
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate(timeout=200)
        ((claimed, row),) = base.claim()
        assert claimed == ORDER[0]
        assert row.orphaned == 1, "the next executor isolates it"


DAMAGES = {
    "no database at all": lambda path: path.write_bytes(b"hello" * 1000),
    "its first page overwritten": lambda path: _overwrite(path, 0),
    "a page in the middle overwritten": lambda path: _overwrite(path, 4096),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "another table": lambda path: _changed(path, "DROP TABLE runs"),
    "another column": lambda path: _changed(path, "ALTER TABLE runs RENAME owner TO possessor"),
    "an index that is gone": lambda path: _changed(path, "DROP INDEX runs_by_state"),
    "a trigger": lambda path: _changed(
        path, "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM runs; END"
    ),
    "a table of format 1 by its number": lambda path: _changed(
        path, "DROP INDEX open_executions", "PRAGMA user_version = 1"
    ),
    "an entry of an index": lambda path: _flipped(path, b"queued", of_index=True),
}


def _overwrite(path: Path, first: int) -> None:
    content = bytearray(path.read_bytes())
    content[first : first + 2000] = os.urandom(2000)
    path.write_bytes(content)


def _changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as base:
        for statement in statements:
            base.execute(statement)
        base.commit()


def _flipped(path: Path, text: bytes, *, of_index: bool) -> None:
    """Flip one bit of `text` where it is first, in a page of an index or else of a table."""
    content = bytearray(path.read_bytes())
    kinds = {True: (0x02, 0x0A), False: (0x05, 0x0D)}[of_index]
    for page in range(4096, len(content), 4096):
        place = content.find(text, page, page + 4096)
        if content[page] in kinds and place >= 0:
            content[place] ^= 1
            path.write_bytes(content)
            return
    raise AssertionError(f"no {text!r}")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_queue_is_kept_and_a_new_one_made(tmp_path: Path, damage: str) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    DAMAGES[damage](tmp_path / queue_rows.FILE)
    damaged = (tmp_path / queue_rows.FILE).read_bytes()
    warnings: list[str] = []
    with Queue(tmp_path, warnings.append) as base:
        base.enrol(RUNS, set(ORDER[5:]), retry=False)
        assert _claims(base) == ORDER[:5]
    assert len(warnings) == 1 and "queue.sqlite: damaged" in warnings[0]
    assert (tmp_path / "queue.sqlite.bad-1").read_bytes() == damaged


def test_an_empty_file_is_a_new_queue_and_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / queue_rows.FILE).touch()
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    with closing(sqlite3.connect(tmp_path / queue_rows.FILE)) as other:
        other.execute("PRAGMA user_version = 99")
    with (
        pytest.raises(UserError, match="a queue of format 99; this version reads 1 and 2"),
        Queue(tmp_path, _silent),
    ):
        pass


def test_peeking_at_the_queue_writes_nothing(tmp_path: Path) -> None:
    assert queue_rows.peek(tmp_path / "nowhere") == {}
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "one", ORDER[1]: "two"}, set(), retry=False)
        base.claim()
        rows = queue_rows.peek(tmp_path)
        assert [rows[each].state for each in ORDER[:2]] == [RUNNING, QUEUED]
    (tmp_path / queue_rows.FILE).write_bytes(b"no database")
    assert queue_rows.peek(tmp_path) == {}


def test_a_queue_of_the_format_before_is_read_and_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / queue_rows.FILE)) as old:
        old.executescript(f"{database.FIRST} PRAGMA user_version = 1;")
        old.execute(
            "INSERT INTO runs VALUES (?, 'run 0', 'set_aside', 2, '', 1, 'it broke', 0.0)",
            (ORDER[0],),
        )
        old.commit()
    assert queue_rows.peek(tmp_path)[ORDER[0]] == QueueRow(SET_ASIDE, 2, "", 1, "it broke")
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert _claims(base) == ORDER[1:]
        assert base.rows()[ORDER[0]].error == "it broke"


def test_only_the_runs_of_this_command_are_claimed_and_none_of_the_others_is_left(
    tmp_path: Path,
) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        base.enrol({each: RUNS[each] for each in (ORDER[7], ORDER[3])}, set(), retry=False)
        assert base.any_in(QUEUED)
        assert [claim for claim, _ in base.claim(5, but={ORDER[3]})] == [ORDER[7]]
        assert [claim for claim, _ in base.claim(5)] == [ORDER[3]]
        assert not base.any_in(QUEUED) and base.any_in(RUNNING)


def test_each_third_loss_of_a_run_counts_as_a_failure(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol({ORDER[0]: "unlucky"}, set(), retry=False)
        states = []
        for _ in range(6):
            ((claimed, row),) = base.claim()
            assert row.orphaned == len(states)
            states.append(base.lost(claimed, "its node died", retries=1, host="node 3"))
        assert [row.state for row in states] == [QUEUED, QUEUED, FAILED] + [QUEUED] * 2 + [
            SET_ASIDE
        ]
        assert states[-1].attempts == 2 and not base.claim()
    with closing(sqlite3.connect(tmp_path / queue_rows.FILE)) as file:
        executions = file.execute("SELECT outcome, host FROM executions").fetchall()
    assert executions == [(each, "node 3") for each in ["lost", "lost", "failed"] * 2]


@pytest.mark.parametrize("state", ["pueued", "", b"queued", "r\udcff"])
def test_a_run_of_an_unknown_state_is_queued(tmp_path: Path, state: str | bytes) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    value = state if isinstance(state, bytes) else state.encode(errors="surrogateescape")
    with closing(sqlite3.connect(tmp_path / queue_rows.FILE)) as file:
        cast = "?" if isinstance(state, bytes) else "CAST(? AS TEXT)"
        file.execute(f"UPDATE runs SET state = {cast}, owner = 'x' WHERE name = 'run 3'", (value,))
        file.commit()
    assert queue_rows.peek(tmp_path)[ORDER[3]].state == QUEUED
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert _claims(base) == ORDER


VALUES = ["x'ff'", "CAST(x'ff' AS TEXT)", "'text'", "-7", "1e300", "9223372036854775807"]


@pytest.mark.parametrize("column", ["name", "attempts", "orphaned", "error", "changed", "position"])
@pytest.mark.parametrize("value", VALUES)
def test_impossible_values_in_a_queue_change_no_claim(
    tmp_path: Path, column: str, value: str
) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert base.claim()
    _changed(tmp_path / queue_rows.FILE, f"UPDATE runs SET {column} = {value}")
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        for fingerprint in ORDER:
            assert [each for each, _ in base.claim()] == [fingerprint]
            state = base.failed(fingerprint, "it broke", retries=0).state
            assert state == SET_ASIDE
            assert base.rows()[fingerprint].error == "it broke"


def test_a_row_of_no_fingerprint_is_nobodys(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    _changed(
        tmp_path / queue_rows.FILE,
        "UPDATE runs SET fingerprint = CAST(x'ff' AS TEXT), state = 'running', "
        "owner = CAST(x'ff' AS TEXT) WHERE name = 'run 5'",
    )
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert _claims(base) == ORDER


@pytest.mark.parametrize("inside", [False, True])
def test_an_owner_is_a_file_of_the_queue_and_no_other_file_is_deleted(
    tmp_path: Path, inside: bool
) -> None:
    other = tmp_path / "precious"
    other.write_text("of somebody")
    folder = tmp_path / "queue"
    with Queue(folder, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
    workers = folder / "workers"
    form = "host-1-0123456{}"  # that of a real one
    (workers / form.format("a")).symlink_to(other)
    os.mkfifo(workers / form.format("b"))
    (workers / form.format("c")).mkdir()
    (workers / "notes.txt").write_text("kept")
    outside = [
        str(other),
        "../../precious",
        "../workers/../../precious",
        "..",
        ".",
        "",
        "notes.txt",
    ]
    owners = [form.format(end) for end in "abc"] if inside else outside
    with closing(sqlite3.connect(folder / queue_rows.FILE)) as file:
        for fingerprint, owner in zip(ORDER, owners, strict=False):
            update = "UPDATE runs SET state = 'running', owner = ? WHERE fingerprint = ?"
            file.execute(update, (owner, fingerprint))
        file.commit()
    with Queue(folder, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert _claims(base) == ORDER, "nobody has them"
    assert other.read_text() == "of somebody"
    assert (workers / "notes.txt").exists()
    assert sum(1 for _ in workers.iterdir()) == 4


def test_a_change_that_finds_no_row_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        ((claimed, _),) = base.claim()
        _changed(tmp_path / queue_rows.FILE, f"DELETE FROM runs WHERE fingerprint = '{claimed}'")
        for change in (
            lambda: base.done(claimed),
            lambda: base.failed(claimed, "it broke", 0),
            lambda: base.lost(claimed, "it died", 0),
        ):
            with pytest.raises(UserError, match=r"queue.sqlite: damaged .*same command again"):
                change()
    with Queue(tmp_path, _silent) as base:
        base.enrol(RUNS, set(), retry=False)
        assert sorted(_claims(base)) == ORDER
