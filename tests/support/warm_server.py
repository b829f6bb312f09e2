"""A process that has imported the commands and forks a child for each request.

`tests.support.processes.start_warm` starts one per test session and talks to it over a Unix
socket, its only argument. A request is one JSON message with four file descriptors: the child's
stdin, stdout and stderr, and a pipe to which the exit status is written. The answer is the pid.
The server has one thread, as a process that forks must have, and ends when its socket is closed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# What a run imports late: the compiled kernels, and torch's compiler for its exact mode.
LATE = (*(f"engine.data.kernels.{name}" for name in ("augment", "gather", "simd", "sort")),
        "torch._inductor")  # fmt: skip
IMPORTS = {  # by command: the module with its function, then what that imports
    "train": ("engine.commands", "engine.train", *LATE),
    "evaluate": ("engine.commands", "engine.evaluate", *LATE),
    "sweep": ("engine.commands", "engine.sweep.__main__"),
    "explore": ("engine.commands", "engine.explore.__main__"),
    "write": ("writers.command", "writers.cifar", "tests.support.ffcv_imports"),
}
LARGEST_REQUEST = 1 << 18


def main() -> int:
    """Answer requests; a child comes back from here with the exit code of its command."""
    server = socket.socket(fileno=int(sys.argv[1]))
    running: dict[int, tuple[int, int]] = {}  # pidfd: pid and status pipe
    while True:
        ready, _, _ = select.select([server, *running], [], [])
        for pidfd in set(ready) & running.keys():
            pid, status = running.pop(pidfd)
            os.write(status, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            os.close(status)
            os.close(pidfd)
        if server not in ready:
            continue
        message, handles, _, _ = socket.recv_fds(server, LARGEST_REQUEST, 4)
        if not message:
            return 0
        request = json.loads(message)
        commands, *_ = [importlib.import_module(name) for name in IMPORTS[request["command"]]]
        gc.freeze()  # no child looks at what the imports made, nor copies its pages
        threads = len(list(Path("/proc/self/task").iterdir()))
        assert threads == 1, f"{threads} threads: a child of this process could hang"
        pid = os.fork()
        if pid == 0:
            server.close()
            for handle in (handle for pair in running.items() for handle in (pair[0], pair[1][1])):
                os.close(handle)
            _become(request, handles)
            return int(getattr(commands, request["command"])())
        running[os.pidfd_open(pid)] = pid, handles.pop()
        for handle in handles:
            os.close(handle)
        server.send(str(pid).encode())


def _become(request: dict[str, Any], handles: list[int]) -> None:
    """Take over what a new process would have been given."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, handle in enumerate(handles[:3]):
        os.dup2(handle, target)
    for handle in handles:
        os.close(handle)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for limit, value in request["limits"].items():
        resource.setrlimit(int(limit), (value, resource.getrlimit(int(limit))[1]))
    sys.argv = [request["command"], *request["arguments"]]
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test session
    raise SystemExit(main())
