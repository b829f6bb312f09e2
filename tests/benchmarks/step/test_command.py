"""The command of the step's benchmark: its flags, its processes, its page and its JSON."""

from __future__ import annotations

import json
import math
import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.step import __main__ as step
from benchmarks.step import benchmark, peer_process
from benchmarks.step.goals import KEYS, QUICKSTART
from benchmarks.step.peer_process import PeerProcess, facts_of, make, peak_of, serve
from benchmarks.step.peers import Workload
from benchmarks.step.peers.plain_loop import Plain
from benchmarks.step.turns import StepTurns
from engine.errors import RunFailed, run_command
from engine.step import rates
from tests.support.data import Files


@pytest.fixture
def workload(files: Files) -> Workload:
    return Workload(QUICKSTART, 8, files.train, "cpu", threads=1, epochs=3)


class InThisProcess:
    """A trainer that takes its turns without a process of its own."""

    def __init__(self, *arguments: Any) -> None:
        *what, seconds = arguments
        self.turns = StepTurns(lambda: make(*what), seconds)
        self.facts = facts_of(self.turns)
        self.name, self.setting, self.warm = self.facts.name, self.facts.setting, self.facts.warm
        self.close = self.turns.close

    def __call__(self) -> float:
        return self.turns()

    def peak(self) -> float:
        return peak_of(self.turns.trainer)


def test_the_process_of_a_trainer_answers_until_its_pipe_is_closed(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(peer_process.os, "_exit", codes.append)
    ours, theirs = multiprocessing.Pipe()
    process = threading.Thread(target=serve, args=(theirs, "plain", workload, "", 0.001))
    process.start()
    assert ours.recv().name == Plain.name
    for _ in range(2):
        ours.send("turn")
        assert ours.recv() > 0
    ours.close()
    process.join(10)
    assert codes == [0]


def test_the_process_of_a_trainer_that_cannot_be_made_says_why(
    workload: Workload, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = multiprocessing.Pipe()
    serve(theirs, "plain", replace(workload, path=tmp_path / "no.beton"), "", 0.001)
    assert "no.beton: no such file" in ours.recv()
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trainer_that_cannot_be_made_says_why(workload: Workload, tmp_path: Path) -> None:
    lost = replace(workload, path=tmp_path / "no.beton")
    with pytest.raises(RunFailed, match=r"no\.beton: no such file"):
        PeerProcess("plain", lost, cache="", seconds=0.001)


@pytest.mark.parametrize(
    "trainer", [InThisProcess, pytest.param(PeerProcess, marks=pytest.mark.slow)]
)
def test_a_small_run_has_the_keys_that_stay_and_its_conditions(
    trainer: Any,
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "PeerProcess", trainer)
    monkeypatch.setitem(rates.PRODUCT, "cpu", 32)
    target = tmp_path / "results.json"
    argv = ["--quick", "--data", str(files.train), "--variants", QUICKSTART, "--batch", "8"]
    argv += ["--pairs", "2", "--threads", "1", "--only", "pairs", "--json", str(target)]
    assert run_command(step.main, argv) == 0
    content, page = json.loads(target.read_text()), capsys.readouterr().out
    for key in KEYS:
        assert math.isfinite(content[key][QUICKSTART]), key
    pairs = content["details"]["pairs"]
    assert list(pairs) == [
        f"{QUICKSTART}: ours / plain PyTorch", f"{QUICKSTART}: ours / FFCV-style loop"
    ]  # fmt: skip
    first = pairs[f"{QUICKSTART}: ours / plain PyTorch"]
    assert first["ratio"]["median"] == content["ratio_vs_plain"][QUICKSTART]
    assert first["ratio"]["values"] == [
        pytest.approx(a / b) for a, b in zip(first["first"], first["second"], strict=True)
    ]
    known = content["conditions"]
    assert (known["batch_size"], known["pairs"], known["threads"]) == (8, 2, 1)
    assert {"cpu", "cores", "versions", "load_before", "load_after"} <= known.keys()
    assert content["goals"][0]["goal"] == "S1" and "batch 8, 2 pairs" in page
    assert content["details"]["settings"].keys() >= {f"{QUICKSTART}: ours"}
