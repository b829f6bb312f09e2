"""Nodes of a Ray cluster on this machine, each a tree of processes that can be killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.processes import python, start

STARTING = 90.0  # seconds


class RayNodes:
    """A head without cores, and nodes that join it; all end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._sockets = Path(
            tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        )  # a socket's path is short
        self._nodes: list[subprocess.Popen[str]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> RayNodes:
        self._start("--head", "--port", self.address.rpartition(":")[2], "--num-cpus", "0",
                    "--include-dashboard=false", "--temp-dir", self._sockets)  # fmt: skip
        return self

    def __exit__(self, *error: object) -> None:
        for node in reversed(self._nodes):
            self.kill(node)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def join(self, cores: int) -> subprocess.Popen[str]:
        """A node of so many cores, in another folder than the driver's."""
        return self._start("--address", self.address, "--num-cpus", cores)

    def kill(self, node: subprocess.Popen[str]) -> None:
        """End it with all that runs on it, as a power cut would."""
        for process in [*descendants(node.pid), node.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.wait(20)

    def kill_raylet(self, node: subprocess.Popen[str]) -> None:
        """Cut it off: its workers are alive, and nobody can reach them."""
        (raylet,) = [each for each in descendants(node.pid) if _name(each) == "raylet"]
        os.kill(raylet, signal.SIGKILL)

    def _start(self, *words: object) -> subprocess.Popen[str]:
        path = self.folder / f"ray-{len(self._nodes)}.log"
        command = ["-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address", "127.0.0.1", "--object-store-memory", str(100 << 20)]
        with open(path, "w") as log:
            node = start(
                *python(*command, *map(str, words)), cwd=Path("/"), environment=self.environment,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._nodes.append(node)
        until = time.monotonic() + STARTING
        while "runtime started" not in (text := path.read_text()):
            assert node.poll() is None and time.monotonic() < until, text
            time.sleep(0.2)
        return node


def descendants(process: int) -> list[int]:
    """All processes below one."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(path.parent.name))
    found, todo = [], [process]
    while todo:
        children = below.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _name(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text().strip()
    return ""
