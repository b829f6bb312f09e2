"""Starts an MPS daemon and stops it when whoever started this process is gone, for any reason.

Its stdin is a pipe that nobody writes to: the system closes it with the other process, even a
killed one. The runs of a killed sweep save a checkpoint then, so the daemon serves them to their
end, `SECONDS` at most; after that it is killed. Only the standard library is imported.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from types import FrameType

PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
SECONDS = 60  # for the processes that are still served
GRACE = 5  # seconds for the daemon's own end
POLL_SECONDS = 0.2


def main(program: str, seconds: int = SECONDS, grace: int = GRACE) -> int:
    """Keep the daemon; the folders are in the environment. Returns its exit code."""
    signal.signal(signal.SIGTERM, _leave)
    daemon = subprocess.Popen([program, "-f"], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while daemon.poll() is None:
            if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                break
    finally:
        if daemon.poll() is None:
            _stop(daemon, program, seconds, grace)
        shutil.rmtree(os.environ[PIPES], ignore_errors=True)
    return daemon.returncode


def _stop(daemon: subprocess.Popen[bytes], program: str, seconds: int, grace: int) -> None:
    """Have it end when its clients have; kill it and its servers when that takes too long."""
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        command = f"quit -t {seconds}\n".encode()
        subprocess.run([program], input=command, timeout=seconds + GRACE, check=False)
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.wait(seconds + grace)
        return
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], *map(int, sys.argv[2:])))
