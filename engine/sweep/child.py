"""One run of a sweep as a process: `python -m engine.train` that ends with its parent."""

from __future__ import annotations

if __name__ == "__main__":  # the imports below take seconds, and the parent may end
    from engine import signals

    signals.listen_early()

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when `parent` dies, for whatever reason."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    from engine import train
    from engine.errors import run_command

    raise SystemExit(run_command(train.main, ["--config-file", sys.argv[2]]))
