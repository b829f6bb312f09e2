"""One process writes to a run's folder; another may ask whether one does."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

from engine import train
from engine.errors import UserError, run_command
from engine.runs import directory
from engine.runs.directory import RunFolder
from engine.runs.state import State
from tests.support.data import Files
from tests.support.runs import exact_flags


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


def test_a_lock_that_was_deleted_before_it_was_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = RunFolder(tmp_path / "run"), directory._locks
    deleted: list[Path] = []

    def deleting(descriptor: int, kind: int) -> bool:
        if not deleted:
            deleted.append(run.path / "lock")
            deleted[0].unlink()
        return real(descriptor, kind)

    monkeypatch.setattr(directory, "_locks", deleting)
    with run:
        run.keep()
        with pytest.raises(UserError, match="already running"):
            RunFolder(tmp_path / "run").__enter__()


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("save", ["--checkpoint.every_steps 1", "--checkpoint.every_epochs 1"])
def test_a_run_whose_lock_was_deleted_writes_nothing_more(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: str, taken: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    flags = [*exact_flags(files, tmp_path, 2, 32), *save.split()]
    run, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    real, before = State.advance, {}

    def advance(state: State, batch: object) -> None:
        if state.counters.step == 4:
            (run.path / "lock").unlink()
            if taken:  # as the same command would, started again
                other.__enter__()
            before.update(_contents(run.path))
        real(state, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(State, "advance", advance)
    assert run_command(train.main, flags) == 2
    assert before and _contents(run.path) == before
    err = capsys.readouterr().err
    assert f"{run.path / 'lock'}: deleted or replaced while this run was using it" in err
    assert "Traceback" not in err
    monkeypatch.undo()
    assert run_command(train.main, flags) == (2 if taken else 0)
    other.__exit__()
    assert run_command(train.main, flags) == 0
    assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 32)) == 0
    assert run.weights.read_bytes() == RunFolder(tmp_path / "whole" / "run").weights.read_bytes()


def _contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): path.read_bytes() for path in paths}
