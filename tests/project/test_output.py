"""Output that nobody reads never touches a run or its exit code."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine import output
from engine.errors import run_command
from tests.support.data import Files
from tests.support.processes import python, run, start_warm
from tests.support.runs import exact_flags, outcome


def _closed_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def _full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("sink", [_closed_pipe, _full_disk])
def test_a_run_whose_output_nobody_reads_ends_as_any_other(
    files: Files, tmp_path: Path, sink: object
) -> None:
    assert callable(sink)
    roots = [tmp_path / "whole", tmp_path / "parts"]
    streams = {"stdout": sink(), "stderr": sink()}
    processes = [
        start_warm("train", *exact_flags(files, root, 2, 32), **more)
        for root, more in zip(roots, ({}, streams), strict=True)
    ]
    for stream in streams.values():
        os.close(stream)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert outcome(roots[1]) == outcome(roots[0])
    assert outcome(roots[1])["record"]["status"] == "finished"


def test_a_mistake_keeps_its_exit_code_where_nobody_reads_it() -> None:
    sink = _closed_pipe()
    process = start_warm("train", "--train.epochs", "many", stdout=sink, stderr=sink)
    os.close(sink)
    assert process.wait() == 2


@pytest.mark.slow
def test_a_run_without_any_standard_stream_writes_only_its_files(
    files: Files, tmp_path: Path
) -> None:
    flags = exact_flags(files, tmp_path / "parts", 2, 32)
    words = " ".join(python("-m", "engine.train", *flags))
    assert run("bash", "-c", f"{words} <&- >&- 2>&-").returncode == 0
    assert run(*python("-m", "engine.train", *exact_flags(files, tmp_path, 2, 32))).returncode == 0
    assert outcome(tmp_path / "parts") == outcome(tmp_path)


def test_closed_streams_lead_nowhere_and_not_to_the_next_file(tmp_path: Path) -> None:
    code = (
        "from engine import output\noutput.ensure_open()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "import os, sys\nos.write(2, b'lost')\nprint('lost', file=sys.stderr, flush=True)\n"
        "assert sys.stdin.read() == ''\nprint('lost', flush=True)\nassert file.fileno() > 2"
    )
    words = " ".join((sys.executable, "-c", f'"{code}"'))
    done = subprocess.run(["bash", "-c", f"{words} <&- >&- 2>&-"], check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_a_result_that_cannot_be_written_is_an_error_and_one_that_nobody_wants_is_none() -> None:
    for sink, code in ((_closed_pipe(), 0), (_full_disk(), 2)):
        process = start_warm("train", "--list", stdout=sink)
        os.close(sink)
        assert (process.wait(), process.communicate()[1] == "") == (code, code == 0)


def test_a_broken_pipe_elsewhere_is_not_taken_for_a_closed_stdout() -> None:
    def main(argv: Sequence[str]) -> int:
        raise BrokenPipeError("of something else")

    with pytest.raises(BrokenPipeError):
        run_command(main, [])


def test_a_stream_without_a_file_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with output.dropping("stdout"):
        print("kept")
    assert sys.stdout is stream and stream.getvalue() == "kept\n"
