"""One run of a sweep as a process: `python -m engine.train`, but it ends with its parent."""

from __future__ import annotations

if __name__ == "__main__":  # before the seconds of imports, in which the parent may end
    from engine import signals

    signals.listen_early()

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def ask_when_alone(parent: int) -> None:
    """Have the kernel send SIGTERM when `parent` dies, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    ask_when_alone(int(sys.argv[1]))
    from engine import train
    from engine.errors import run_command

    raise SystemExit(run_command(train.main, ["--config-file", sys.argv[2]]))
