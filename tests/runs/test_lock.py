"""One process writes to a run's folder; another may ask whether one does."""

from __future__ import annotations

import threading
from pathlib import Path

from engine.runs.directory import RunFolder


def test_asking_for_a_lock_never_keeps_its_owner_out(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run:
        assert RunFolder(tmp_path / "run").locked()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            RunFolder(tmp_path / "run").locked()

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
