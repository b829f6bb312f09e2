"""Pipes, folders and link loops in a run's folder: one line, exit code 2, no waiting."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import evaluate, seal, train
from engine.errors import USER_ERROR, run_command
from engine.runs.directory import INTERRUPTED, OWN_DIGEST, RunFolder
from tests.support.data import Files
from tests.support.runs import SHORT, Call, run_of

MAKE: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "endless": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture(scope="module")
def trained(files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[str]]:
    """A finished run, which the tests copy, and its flags without `run.root`."""
    root = tmp_path_factory.mktemp("trained")
    flags = [*SHORT, *files.flags(), "--run.name", "run", "--checkpoint.keep", "1"]
    assert run_command(train.main, [*flags, "--run.root", str(root / "runs")]) == 0
    return run_of(root), flags


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize(
    "name",
    ["record.json", "log.jsonl", "lock", "checkpoints/step-*.safetensors", "checkpoints/*.json"],
)
def test_a_file_of_an_unfinished_run_that_is_none_is_refused_by_name(
    trained: tuple[RunFolder, list[str]], tmp_path: Path, call: Call, kind: str, name: str
) -> None:
    run = RunFolder(tmp_path / "runs" / "run")
    shutil.copytree(trained[0].path, run.path)
    record = json.loads(run.record.read_text())
    run.record.write_text(json.dumps(seal.sealed(record | {"status": INTERRUPTED}, OWN_DIGEST)))
    (path,) = run.path.glob(name)
    path.unlink()
    MAKE[kind](path)
    code, _, err = call(train.main, *trained[1], "--run.root", tmp_path / "runs", "--quiet")
    if (name, kind) in (("lock", "pipe"), ("lock", "endless")):
        assert code == 0  # it can be locked, and its content is never read
    else:
        assert code == USER_ERROR
        assert err.startswith(f"error: {path}: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("name", ["record.json", "weights.safetensors"])
def test_a_file_of_a_finished_run_that_is_none_is_refused_by_name(
    trained: tuple[RunFolder, list[str]], tmp_path: Path, call: Call, kind: str, name: str
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained[0].path, run.path)
    path = run.path / name
    path.unlink()
    MAKE[kind](path)
    code, _, err = call(evaluate.main, run.path)
    assert code == USER_ERROR
    assert err.startswith(f"error: {path}: ") and len(err.splitlines()) == 1
