"""The log of a run is also in its checkpoints: lost or edited, it changes no result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from engine.runs import checkpoint
from engine.runs.directory import RunFolder
from engine.runs.run import Run
from tests.support.data import Files
from tests.support.runs import exact_flags, outcome


def _edited(log: Path) -> None:
    lines = [json.loads(line) | {"test_accuracy": 0.99} for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda log: log.write_text(""),
    "edited": _edited,
    "cut": lambda log: log.write_bytes(log.read_bytes()[:-40]),
    "no log at all": lambda log: log.write_bytes(b"\xff\n[1]\n{}\n"),
}


@pytest.fixture
def stopped(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], RunFolder]:
    """The flags of a run that was killed when all was trained and its record not yet written."""
    assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 64)) == 0
    flags = exact_flags(files, tmp_path / "parts", 2, 64)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *rest: None)
        assert run_command(train.main, flags) == 0
    return flags, RunFolder(tmp_path / "parts" / "run")


@pytest.mark.parametrize("change", CHANGES)
def test_a_log_that_was_lost_or_edited_is_written_again_and_is_not_the_result(
    stopped: tuple[list[str], RunFolder],
    tmp_path: Path,
    change: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags, run = stopped
    CHANGES[change](run.log)
    capsys.readouterr()
    assert run_command(train.main, flags) == 0
    assert "log.jsonl: lacks or changes lines; written again" in capsys.readouterr().err
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("change", [None, "missing", "empty", "cut"])  # which it cannot see
def test_a_checkpoint_without_the_log_needs_the_file(
    stopped: tuple[list[str], RunFolder],
    tmp_path: Path,
    change: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags, run = stopped
    for path in run.checkpoints.glob("*.json"):  # as the versions before wrote them
        content = json.loads(path.read_text())
        del content["facts"]["log"], content["sha256"]["head"]
        content["sha256"]["facts"] = checkpoint._digest(content["facts"])
        path.write_text(json.dumps(content))
    if change is not None:
        CHANGES[change](run.log)
        assert run_command(train.main, flags) == 2
        assert "does not have a line for each of the 2 epochs" in capsys.readouterr().err
        return
    assert run_command(train.main, flags) == 0
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_fresh_can_be_killed_at_any_file_and_never_continues_a_part(
    stopped: tuple[list[str], RunFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags, run = stopped
    elsewhere = tmp_path / "elsewhere"
    run.checkpoints.rename(elsewhere)
    run.checkpoints.symlink_to(elsewhere)
    newest = max(elsewhere.glob("*.json"))
    real = Path.unlink
    dead: list[Path] = []

    def killed(path: Path, missing_ok: bool = False) -> None:
        if not newest.exists():
            dead.append(path)
            raise KeyboardInterrupt
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    assert run_command(train.main, [*flags, "--fresh"]) == 130
    monkeypatch.undo()
    assert dead == [run.checkpoints / newest.with_suffix(".safetensors").name]
    assert run_command(train.main, flags) == 2
    assert "its checkpoints are missing" in capsys.readouterr().err
    assert run_command(train.main, [*flags, "--fresh"]) == 0
    assert run.checkpoints.is_symlink()
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
