"""One process writes to a run's folder; another may ask whether one does."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.runs.directory import RunFolder


def test_asking_for_a_lock_never_keeps_its_owner_out(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run:
        assert RunFolder(tmp_path / "run").locked()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            RunFolder(tmp_path / "run").locked()
            time.sleep(0.001)  # else the lock would never be free: two threads hold it in turns

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(50):
            with RunFolder(tmp_path / "run"):
                pass
    finally:
        over.set()
        for thread in looking:
            thread.join()
    assert not RunFolder(tmp_path / "run").locked()
    assert not RunFolder(tmp_path / "nowhere").locked()


def test_an_owner_waits_for_one_who_asks_and_not_for_another_owner(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunFolder(run), pytest.raises(UserError, match="already running"):
        RunFolder(run).__enter__()
    with (run / "lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)  # as `is_locked` does, but for longer
        threading.Timer(0.5, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        begin = time.monotonic()
        with RunFolder(run):
            assert time.monotonic() - begin > 0.4
            assert RunFolder(run).locked()
