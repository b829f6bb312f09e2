"""A disk that refuses any one operation: the command says so, and the next call goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.report.__main__ import main as report
from engine import train
from engine.errors import run_command
from tests.support.data import Files
from tests.support.failing_disk import every_operation
from tests.support.records import record, write_run
from tests.support.runs import exact_flags, outcome
from tests.support.sweeps import Sweep

CODES = (0, 1, 2)  # not every operation matters: a file that cannot be deleted is left


def _check(code: int, operation: str, err: str) -> None:
    assert code in CODES, operation
    assert "Traceback" not in err, f"{operation}: {err}"
    if code != 0:
        assert "error: " in err or "set aside" in err, f"{operation}: {err}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_survives_any_refused_operation(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 64)) == 0
    whole, root = outcome(tmp_path / "whole"), tmp_path / "parts"
    flags = exact_flags(files, root, 2, 64)
    operations = 0
    for code, operation in every_operation(root, lambda: run_command(train.main, flags)):
        _check(code, operation, capsys.readouterr().err)
        assert run_command(train.main, flags) == 0, operation
        assert outcome(root) == whole, operation
        shutil.rmtree(root)
        operations += 1
    assert operations > 60


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_sweep_survives_any_refused_operation(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write('  - {id: "1", title: One, settings: {optim: {lr: 0.1}}}', epochs=1)
    operations = 0
    for code, operation in every_operation(sweep.root, lambda: sweep("--retries", "0")):
        _check(code, operation, capsys.readouterr().err)
        assert sweep("--retry-failed") == 0, operation
        (made,) = sweep.records().values()
        assert made["status"] == "finished", operation
        shutil.rmtree(sweep.root)
        operations += 1
    assert operations > 60


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_report_survives_any_refused_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", f"run{seed}", record(seed=seed))
    page = tmp_path / "report" / "index.html"
    words = f"{tmp_path / 'runs'} --out {page.parent} --predictions none --quiet".split()
    assert run_command(report, words) == 0
    operations = 0
    for code, operation in every_operation(tmp_path, lambda: run_command(report, words), step=9):
        _check(code, operation, capsys.readouterr().err)
        assert page.read_text().rstrip().endswith("</html>"), "the old page or the new one"
        operations += 1
    assert run_command(report, words) == 0
    assert operations > 3
