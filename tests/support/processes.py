"""Processes of their own: the one way in which tests start any."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from engine import signals
from tests.support.paths import ROOT

SIGNALS = [  # that ask a command to stop: all but SIGHUP where `nohup` runs the tests
    number for number in signals.SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
]
Words = str | Path
SECONDS = 240  # a stuck process must fail its test, not hang it


def python(*words: Words) -> list[str]:
    """The command of this interpreter: `python("-m", "engine.train", ...)`."""
    return [sys.executable, *map(str, words)]


def run(
    *command: Words,
    cwd: Path = ROOT,
    seconds: float = SECONDS,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, whatever its exit code; `environment` is added to this one."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | dict(environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def succeed(*command: Words, **options: Any) -> str:
    """What `command` prints; it must end with 0."""
    done = run(*command, **options)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def interpreted(tests: Words, cache: Path, *words: Words) -> str:
    """What pytest prints of a file of tests in a process where Triton interprets its kernels."""
    environment = {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(cache)}
    command = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *words, tests)
    return succeed(*command, environment=environment, seconds=170)


def start(
    *command: Words,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    stdin: int | IO[str] | None = subprocess.DEVNULL,
    stdout: int | IO[str] | None = subprocess.PIPE,
    stderr: int | IO[str] | None = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start `command` and return at once; who starts one waits for it."""
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | dict(environment or {}),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


class WarmProcess:
    """A child of the warm server, used as a `subprocess.Popen` with text pipes."""

    def __init__(
        self, pid: int, status: IO[str], stdout: IO[str] | None, stderr: IO[str] | None
    ) -> None:
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = SECONDS) -> int:
        """The exit code, once it has ended; that of a signal is negative."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"warm process {self.pid}", timeout or 0)
            with self._status:
                self.returncode = int(self._status.read())
        return self.returncode

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """The rest of stdout and stderr, and wait for the end."""
        rest = {self.stdout: "", self.stderr: ""}

        def read(stream: IO[str]) -> None:
            with stream:
                rest[stream] = stream.read()

        until = time.monotonic() + timeout
        readers = [
            threading.Thread(target=read, args=(stream,), daemon=True)
            for stream in rest
            if stream is not None and not stream.closed
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))
        self.wait(max(0.0, until - time.monotonic()))
        return rest[self.stdout], rest[self.stderr]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without its notice."""
        self.send_signal(signal.SIGKILL)


def start_warm(
    command: str,
    *arguments: Words,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    limits: Mapping[int, int] | None = None,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
) -> WarmProcess:
    """Start a command in a process of its own that has the imports behind it, and return at once.

    `command` is an installed one: train, evaluate, sweep, explore or write. The process is forked
    by one that imported the same modules and did nothing else; signals, kills, locks and exit
    codes are real. `environment` is set after the imports and `limits` are soft
    ones of `resource.setrlimit`. A stream is a pipe, a file descriptor or None for /dev/null.
    """
    pipes: dict[int, IO[str]] = {}
    with contextlib.ExitStack() as stack:

        def descriptor(stream: int | None, mode: int = os.O_WRONLY) -> int:
            if stream is None:
                stream = os.open(os.devnull, mode)
            elif stream == subprocess.PIPE:
                reader, stream = os.pipe()
                pipes[stream] = os.fdopen(reader)
            else:
                return stream
            stack.callback(os.close, stream)
            return stream

        stdin = descriptor(None, os.O_RDONLY)
        out, err, status = descriptor(stdout), descriptor(stderr), descriptor(subprocess.PIPE)
        request = {
            "command": command,
            "arguments": [str(word) for word in arguments],
            "cwd": str(cwd),
            "environment": dict(os.environ) | dict(environment or {}),
            "limits": dict(limits or {}),
        }
        server = _warm_server()
        socket.send_fds(server, [json.dumps(request).encode()], [stdin, out, err, status])
        pid = int(server.recv(64))
    return WarmProcess(pid, pipes[status], pipes.get(out), pipes.get(err))


def run_warm(
    command: str, *arguments: Words, seconds: float = SECONDS, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`start_warm` and wait for the end, whatever the exit code."""
    process = start_warm(command, *arguments, **options)
    stdout, stderr = process.communicate(seconds)
    assert process.returncode is not None
    return subprocess.CompletedProcess([command], process.returncode, stdout, stderr)


@functools.cache
def _warm_server() -> socket.socket:
    """The socket to the one server of this test session; the server ends when it is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            python("-m", "tests.support.warm_server", str(theirs.fileno())),
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours
