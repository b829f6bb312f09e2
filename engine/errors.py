"""How a command ends: one line per user error, a traceback for a bug.

Exit codes: 0 done, 1 the run failed or a bug, 2 something the user can correct,
75 interrupted and resumable, 130 stopped by Ctrl-C where nothing can be resumed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from engine import output, signals
from engine.escaping import escaped

OK, FAILED, USER_ERROR, RESUMABLE, INTERRUPTED = 0, 1, 2, 75, 130

# System errors that the user can correct: they are no bugs.
SYSTEM_ERRORS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would exceed the size limit of this process or disk",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "the disk reports an input/output error",
}

# A path that cannot be used as named.
WRONG_PATHS = {
    errno.ENOENT: "there is no such folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "a folder, where a file is expected",
    errno.EEXIST: "a file, where a folder is expected",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a link that leads back to itself",
    errno.ENXIO: "not a regular file",
}


class UserError(Exception):
    """Something the user can correct: each problem is printed as one line, then exit 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RunFailed(Exception):
    """The run cannot continue, as with a nan loss: one line, no traceback, exit 1."""


def with_path(error: OSError, path: object) -> Exception:
    """`error`, knowing `path`; a `UserError` where the path itself is wrong."""
    if error.errno in WRONG_PATHS:
        return UserError(f"{path}: {WRONG_PATHS[error.errno]}")
    if error.filename is None:  # the error of a failed write does not name its file
        error.filename = str(path)
    return error


def run_command(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Call `main` and turn what it raises into messages on stderr and an exit code."""
    signals.restore_ctrl_c()
    output.ensure_open()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that are no Unicode
    with output.dropping("stderr"):
        return _exit_code(main, sys.argv[1:] if argv is None else argv)


def _exit_code(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    try:
        code = main(argv)
        sys.stdout.flush()
        return code
    except UserError as error:
        _print_errors(*error.problems)
        return USER_ERROR
    except RunFailed as error:
        _print_errors(str(error))
        return FAILED
    except KeyboardInterrupt:
        _print_errors("stopped by Ctrl-C")
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) and output.has_no_reader(sys.stdout):  # `| head`
            output.settle(sys.stdout)
            return OK
        if error.errno not in SYSTEM_ERRORS:
            raise
        _print_errors(f"{error.filename or 'writing'}: {SYSTEM_ERRORS[error.errno]}")
        output.settle(sys.stdout)
        return USER_ERROR


def leave(code: int) -> NoReturn:
    """End the process without Python's finalisation, which takes 100 MB more with FFCV."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _print_errors(*problems: str) -> None:
    for problem in problems:
        print("error:", "\n".join(map(escaped, problem.split("\n"))), file=sys.stderr)
