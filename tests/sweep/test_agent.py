"""An agent runs jobs for a sweep that is driven elsewhere; it refuses where locks are not seen."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.schema import Config, Data
from engine.errors import UserError
from engine.sweep import agent, shared_files
from engine.sweep.agent import Agent
from engine.sweep.executor import Job, JobEnd, Outcome
from engine.sweep.shared_files import Probe, copy_of, path_here, problem_with
from tests.support.data import Files


class _Executor:
    """Jobs end when they are told to; two at a time."""

    slots = 2

    def __init__(self, *rest: object) -> None:
        self.jobs: dict[int, Job] = {}
        self.threads = set[int]()
        self.over = threading.Event()
        self.cancelled = set[int]()

    @property
    def room(self) -> int:
        return self.slots - len(self.jobs)

    def submit(self, job: Job) -> int:
        if job.name == "wrong":
            raise OSError("no such folder")
        self.threads.add(threading.get_ident())
        self.jobs[id(job)] = job
        return id(job)

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        self.over.wait(seconds)
        some = self.jobs if self.over.is_set() else self.cancelled & self.jobs.keys()
        how = Outcome.DONE if self.over.is_set() else Outcome.STOPPED
        return [(each, JobEnd(how, self.jobs.pop(each).config.data.train)) for each in list(some)]

    def cancel(self, ticket: int) -> None:
        self.cancelled.add(ticket)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> _Executor:
    executor = _Executor()
    monkeypatch.setattr(agent, "Processes", lambda *rest: executor)
    return executor


def _job(name: str) -> Job:
    config = replace(Config(), data=Data(train="there.beton", test="test.beton"))
    return Job(name, config, Path("x.log"))


def test_jobs_of_many_threads_are_started_by_one_and_find_their_data(executor: _Executor) -> None:
    here = Agent(2, 2, {"there.beton": "/here.beton"})
    with ThreadPoolExecutor(5) as threads:
        ends = [threads.submit(here.run, _job(name)) for name in ("a", "b", "c", "wrong", "d")]
        executor.over.set()
        results = [end.result(20) for end in ends]
    assert [result.outcome for result in results].count(Outcome.DONE) == 4
    assert results[3].outcome is Outcome.FAILED and "no such folder" in results[3].output
    assert results[0].output == "/here.beton"
    assert len(executor.threads) == 1, "a run ends with the thread that started it"


def test_stopping_an_agent_ends_what_runs_and_what_waits(executor: _Executor) -> None:
    here = Agent(2, 2, {})
    with ThreadPoolExecutor(3) as threads:
        ends = [threads.submit(here.run, _job(name)) for name in "abc"]
        while executor.room:
            assert not any(end.done() for end in ends)
        here.stop()
        results = [end.result(20) for end in ends]
    assert [result.outcome for result in results] == [Outcome.STOPPED] * 3
    assert [result.output for result in results].count("not begun") == 1


def test_a_machine_that_does_not_see_the_drivers_file_or_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_files, "VISIBLE_SECONDS", 0.1)
    probe = Probe(str(tmp_path / "probe"), "token")
    assert "run.root must be a folder that all machines share" in problem_with(probe)
    (tmp_path / "probe").write_text("another token")
    assert "must be a folder" in problem_with(probe)
    with open(tmp_path / "probe", "w") as file:
        file.write("token")
        file.flush()
        assert "two machines could train one run" in problem_with(probe)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert problem_with(probe) == ""


def test_a_data_file_that_is_not_there_is_copied_once_and_checked(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_files.tempfile, "gettempdir", lambda: str(tmp_path))
    content = files.train.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    copy = copy_of(str(files.train), digest)

    def never() -> bytes:
        raise AssertionError("not needed")

    assert path_here(copy, never) == str(files.train), "it is here under the same path"
    elsewhere = replace(copy, path="few_train.beton")
    with pytest.raises(UserError, match="changed while the sweep began"):
        path_here(elsewhere, lambda: content + b"x")
    path = Path(path_here(elsewhere, lambda: content))
    assert path.name == f"{digest}.beton" and path.read_bytes() == content
    assert path.parent.stat().st_mode & 0o077 == 0, "no other user may enter"
    assert path_here(elsewhere, never) == str(path)
    assert path.with_name(path.name + ".json").read_text() == copy.sidecar != ""
