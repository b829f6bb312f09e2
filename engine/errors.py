"""How a command ends: a user's mistake in one line each, a bug with its traceback.

Exit codes: 0 done, 1 the run failed or a bug, 2 something the user can put right,
75 interrupted and resumable, 130 stopped by Ctrl-C where nothing can be resumed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from engine import signals

OK, FAILED, USER_ERROR, RESUMABLE, INTERRUPTED = 0, 1, 2, 75, 130

# The machine's refusals: they need a person at the disk or the permissions, not at the code.
REFUSALS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would exceed the size limit of this process or disk",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "the disk reports an input/output error",
}

# A path that somebody named and that cannot be: always theirs to put right.
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
    """Something the user can put right: each problem prints as one line, then exit 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RunFailed(Exception):
    """The run cannot go on, as with a nan loss: one line, no traceback, exit 1."""


def with_path(error: OSError, path: object) -> Exception:
    """`error`, knowing `path`; a `UserError` where the path itself is what is wrong."""
    if error.errno in WRONG_PATHS:
        return UserError(f"{path}: {WRONG_PATHS[error.errno]}")
    if error.filename is None:  # a write that fails does not say on which file
        error.filename = str(path)
    return error


def run_command(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Call `main` and turn what it raises into messages on stderr and an exit code."""
    signals.quit_no_more()
    try:
        code = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except UserError as error:
        _say(*error.problems)
        return USER_ERROR
    except RunFailed as error:
        _say(str(error))
        return FAILED
    except KeyboardInterrupt:
        _say("stopped by Ctrl-C")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _say(f"{error.filename or 'writing'}: {REFUSALS[error.errno]}")
        return USER_ERROR


def leave(code: int) -> NoReturn:
    """End the process without taking its libraries apart, which costs FFCV's some 100 MB more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _say(*problems: str) -> None:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
