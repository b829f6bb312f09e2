"""The command under test, as a function that gives the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.report import __main__ as report
from engine.errors import run_command


@pytest.fixture
def report_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Makes a report of the runs in `tmp_path / "runs"`, without benchmarks; returns the page."""

    def call(*flags: str, runs: Path | None = None) -> str:
        (tmp_path / "runs").mkdir(exist_ok=True)
        folders = [str(runs or tmp_path / "runs"), "--out", str(tmp_path / "report")]
        code = run_command(report.main, [*folders, "--benchmarks", "nowhere", *flags])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert captured.out.endswith(f"{tmp_path}/report/index.html\n")
        return (tmp_path / "report" / "index.html").read_text()

    return call
