"""How a command ends: one line for a user error, a traceback for a bug, and the right code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import pytest

from engine.columns import columns
from engine.errors import RunFailed, UserError, run_command
from engine.runs.progress import Progress
from tests.support.processes import start_warm, succeed
from writers.console import Console


def _raising(error: BaseException) -> int:
    def main(argv: Sequence[str]) -> int:
        raise error

    return run_command(main, [])


@pytest.mark.parametrize(
    ("error", "code", "output"),
    [
        (UserError("a is wrong", "b is wrong"), 2, "error: a is wrong\nerror: b is wrong\n"),
        (RunFailed("loss became nan"), 1, "error: loss became nan\n"),
        (KeyboardInterrupt(), 130, "error: stopped by Ctrl-C\n"),
        (OSError(errno.ENOSPC, "no", "x/y"), 2, "error: x/y: no space left on the disk\n"),
        (OSError(errno.EACCES, "no", "x/y"), 2, "error: x/y: permission denied\n"),
    ],
)
def test_a_user_error_is_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, output: str
) -> None:
    assert _raising(error) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", output)


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError(errno.EBADF, "bad descriptor")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        _raising(bug)


def test_a_closed_stdout_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    process = start_warm("train", "--list", stdout=write)
    os.close(write)
    assert process.communicate()[1] == ""
    assert process.returncode == 0


HOSTILE = "\x1b]0;title\x07\x1b[2J\r\u202e\ud800"
SHOWN = r"\x1b]0;title\x07\x1b[2J\r\u202e\ud800"


def test_control_characters_in_a_message_are_shown_not_obeyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _raising(UserError(f"a {HOSTILE}"))
    assert capsys.readouterr().err == f"error: a {SHOWN}\n"
    Progress(1, 1, 1, 1, quiet=True).warn(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\n"
    Console().say(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\n"
    assert columns(("a", "b"), [(HOSTILE, "1")]).endswith(f"{SHOWN}  1")


def test_a_name_that_is_no_unicode_can_be_printed() -> None:
    code = "from engine.errors import run_command as run; run(lambda a: print(chr(0xD800)))"
    assert succeed(sys.executable, "-c", code) == "\\ud800\n"
