"""Runs in the process of the sweep: shared compiled code, and processes after an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.schema import Config
from engine.step import compiled as compiled_step
from engine.step import device
from engine.sweep.executor import Job, JobEnd, Outcome
from engine.sweep.in_process import InProcess
from tests.support.sweeps import Sweep


class _Other:
    """An executor whose jobs are done at once."""

    slots = room = 1

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> int:
        self.jobs.append(job)
        return len(self.jobs)

    def ended(self, seconds: float) -> list[tuple[int, JobEnd]]:
        return [(len(self.jobs), JobEnd(Outcome.DONE))]

    def cancel(self, ticket: int) -> None:
        raise AssertionError("not expected")


class _Never:
    requested = False


def test_after_an_unexpected_error_runs_get_processes_of_their_own(tmp_path: Path) -> None:
    other = _Other()
    codes: list[Any] = [0, RuntimeError("CUDA error: an illegal memory access"), 0]

    def training(config: Config, label: str, stop: Any) -> int:
        code = codes.pop(0)
        print("some output")
        if isinstance(code, Exception):
            raise code
        return int(code)

    executor = InProcess(training, _Never(), other)  # type: ignore[arg-type]
    jobs = [Job(f"run {n}", Config(), tmp_path / "logs" / f"{n}.log", n == 3) for n in range(4)]
    ended = []
    for job in jobs:
        ticket = executor.submit(job)
        assert executor.room == 0
        ((theirs, end),) = executor.ended(0)
        assert theirs == ticket and executor.room == 1
        ended.append(end)
    assert [end.outcome.value for end in ended] == ["done", "failed", "done", "done"]
    assert ended[1].output.splitlines()[-1] == "RuntimeError: CUDA error: an illegal memory access"
    assert [job.name for job in other.jobs] == ["run 2", "run 3"]


def test_runs_of_one_architecture_share_one_compiled_network(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write(
        """
  - id: "1"
    title: Two networks in turn
    axes: {optim.lr: [0.1, 0.2]}
    runs:
      - {name: narrow, settings: {model: {widths: [4]}}}
      - {name: wide, settings: {model: {widths: [8]}}}
      - {name: narrow too, settings: {optim: {momentum: 0.5}}}
""",
        epochs=1,
    )
    compiled: list[Any] = []

    def compile_once(network: Any, **rest: Any) -> Any:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_once)
    monkeypatch.setattr(compiled_step, "_kept", {})
    monkeypatch.setattr(device, "_has_compiler", lambda: True)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # and back, when this is over
    assert sweep("--runtime.compile", "true") == 0
    assert len(sweep.stamps()) == 6
    assert len(compiled) == 2
    began = [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if "began" in line]
    assert [name.partition(",")[0] for name in began] == ["1/narrow"] * 2 + ["1/narrow too"] * 2 + [
        "1/wide"
    ] * 2
