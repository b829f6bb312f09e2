"""The first part: whether anything works, and what is said where it does not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import resume, smoke
from benchmarks.gpu.runs import Engine, Outcome
from engine.errors import RESUMABLE, RunFailed
from engine.step import rates
from tests.support.data import Files
from tests.support.runs import Call


@pytest.fixture
def words(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(rates.PRODUCT, "cpu", 32)
    monkeypatch.setitem(rates.COPIED, "cpu", 1 << 16)
    monkeypatch.setattr(rates, "SECONDS", 0.001)
    flags = ["--device", "cpu", "--data", str(files.train), "--json", str(tmp_path / "s.json")]
    return [*flags, "--cache", str(tmp_path / "cache"), "--quick"]


def _trained(engine: Engine, name: str, *flags: str, seconds: float) -> Outcome:
    """A run as it would have been written."""
    folder = engine.folder(name)
    folder.mkdir()
    line = {"images_per_second": 100.0, "train_loss": 1.5, "seconds": 1.0}
    (folder / "log.jsonl").write_text(json.dumps(line) + "\n")
    record = {"test_accuracy": 0.5, "precision": "fp32", "weights_sha256": "abc"}
    (folder / "record.json").write_text(json.dumps(record))
    if "--profile" in flags:
        (folder / "profile").mkdir()
        (folder / "profile" / "table.txt").write_text("ms per step\n")
        (folder / "profile" / "trace.json").write_text("{}")
    return Outcome(0, 2.0)


def test_three_modes_are_trained_and_a_profile_is_kept_with_its_trace(
    words: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "train", _trained)
    code, out, _ = call(smoke.main, *words)
    assert code == 0
    content = json.loads((tmp_path / "s.json").read_text())
    steps = {each["step"]: each for each in content["steps"]}
    assert list(steps) == ["the machine", *smoke.MODES, "profile"]
    assert steps["the machine"]["product_tflops"] > 0
    assert {"cpu", "versions"} <= steps["the machine"]["machine"].keys()
    assert steps["eager"]["train_loss"] == [1.5] and content["left_out"] == []
    assert gzip.decompress((tmp_path / smoke.TRACE).read_bytes()) == b"{}"
    assert "ms per step" in out and "test 50.00 %" in out


def test_the_first_failure_ends_it_with_all_that_the_process_said(
    words: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(engine: Engine, name: str, *flags: str, seconds: float) -> Outcome:
        if name == "graphed":
            return Outcome(1, 3.0, ["Traceback", "RuntimeError: operation not permitted"])
        return _trained(engine, name, *flags, seconds=seconds)

    monkeypatch.setattr(Engine, "train", train)
    code, out, _ = call(smoke.main, *words)
    assert code == 1
    content = json.loads((tmp_path / "s.json").read_text())
    assert [each["ok"] for each in content["steps"]] == [True, True, False]
    assert content["steps"][-1]["error"][-1] == "RuntimeError: operation not permitted"
    assert content["left_out"] == [
        "compiled and graphed, after a failure", "profile, after a failure"
    ]  # fmt: skip
    assert "graphed" in out and "operation not permitted" in out


def test_a_run_that_is_too_slow_is_stopped_and_said_to_be(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(files.train, "cpu", tmp_path, tmp_path / "cache", quick=True)
    monkeypatch.setattr(Engine, "command", lambda *_: ["-c", "import time; time.sleep(60)"])
    outcome = engine.train("slow", seconds=0.5)
    assert outcome.code is None and outcome.lines == ["stopped after 3 s"]  # it was patient


@pytest.mark.parametrize("same", [True, False])
def test_interrupted_runs_must_end_with_the_weights_of_one_that_was_not(
    same: bool, words: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(engine: Engine, name: str, *flags: str, seconds: float) -> Outcome:
        assert "--runtime.exact" in flags
        outcome = _trained(engine, name, *flags, seconds=seconds)
        if not same and name == "stopped":
            record = {"weights_sha256": "other", "test_accuracy": 0.5}
            (engine.folder(name) / "record.json").write_text(json.dumps(record))
        return outcome

    monkeypatch.setattr(Engine, "train", train)
    monkeypatch.setattr(resume, "_interrupted", lambda engine, name, number: 1)
    code, out, _ = call(resume.main, *words)
    assert code == (0 if same else 1) and ("OTHER BITS" in out) == (not same)
    runs: dict[str, Any] = json.loads((tmp_path / "s.json").read_text())["runs"]
    assert list(runs) == ["whole", "killed", "stopped"]


@pytest.mark.parametrize(("name", "code"), [("killed", -9), ("stopped", RESUMABLE)])
def test_a_run_is_interrupted_in_its_second_epoch(
    name: str, code: int, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(files.train, "cpu", tmp_path, tmp_path / "cache", quick=True)
    engine.folder(name).mkdir()
    log = engine.folder(name) / "log.jsonl"
    waits = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(75))\n"
    waits += f"open({str(log)!r}, 'w').write('{{\"seconds\": 0.1}}\\n')\ntime.sleep(60)"
    monkeypatch.setattr(Engine, "command", lambda *_: ["-c", waits])
    assert resume._interrupted(engine, name, resume.SIGNALS[name]) == 1
    log.unlink()
    monkeypatch.setattr(Engine, "command", lambda *_: ["-c", ""])
    with pytest.raises(RunFailed, match="not interrupted in time: exit 0 after 0 epochs"):
        resume._interrupted(engine, name, resume.SIGNALS[name])
