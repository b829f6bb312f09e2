"""Download a published archive with torchvision and check its MD5.

This runs in a child process, which can be killed when a name server or the server does not answer.
A HEAD request comes first, because importing torchvision takes seconds and a missing network should
be reported at once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from engine import atomic
from engine.errors import UserError, with_path
from writers.cifar_layouts import Layout
from writers.console import Console

ANSWER_SECONDS = 8.0  # for the server's first answer, including the look-up of its name
STALL_SECONDS = 20.0  # without a new byte
START_SECONDS = 120.0  # for importing torchvision from a slow disk

ARCHIVE_BYTES = 170_498_071  # for the progress bar: CIFAR-10's; CIFAR-100's is 1 % smaller
SERVER = "https://www.cs.toronto.edu/~kriz/"  # as in torchvision.datasets.CIFAR10.url
_CHILD = """
import socket, sys
socket.setdefaulttimeout({timeout})
from torchvision.datasets.utils import download_url
print("ready", flush=True)
download_url(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
"""


def fetch(layout: Layout, folder: Path, console: Console) -> Path:
    """Download the archive of `layout` to `folder`; a wrong MD5 is an error and leaves nothing."""
    url = SERVER + layout.archive
    target = folder / layout.archive
    console.say(f"no {layout.dataset} in {folder}: downloading {url}")
    _check_server(url, layout, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise with_path(error, folder) from None
    with atomic.replacing(target) as partial:
        problem = _download(url, partial, layout.archive_digest.partition(":")[2], console)
        if problem:
            raise UserError(*_alternatives(url, problem, layout, folder))
    return target


def _check_server(url: str, layout: Layout, folder: Path) -> None:
    """Fail soon if there is no answer; in a thread, as a name look-up cannot be interrupted."""
    answers: list[str] = []

    def send() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                answers.append("")
        except Exception as error:
            answers.append(str(error) or type(error).__name__)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS + 1)
    problem = answers[0] if answers else "no answer"
    if problem:
        raise UserError(*_alternatives(url, problem, layout, folder))


def _alternatives(url: str, problem: str, layout: Layout, folder: Path) -> tuple[str, ...]:
    return (
        f"{url}: not downloaded ({problem}); alternatives:",
        f"  put {layout.archive} into {folder}/ and repeat the command",
        f"  --data.source PATH, where PATH is {layout.archive} or the folder {layout.folder}",
        "  --data.source synthetic, the built-in synthetic set",
    )


def _download(url: str, partial: Path, md5: str, console: Console) -> str:
    """Download to `partial`; the problem, or an empty text."""
    code = _CHILD.format(timeout=ANSWER_SECONDS)
    arguments = [url, str(partial.parent), partial.name, md5]
    with _child([sys.executable, "-c", code, *arguments]) as child:
        size, since, limit = -1, time.monotonic(), START_SECONDS
        show = console.progress(partial.name)
        assert child.stdout is not None and child.stderr is not None
        os.set_blocking(child.stdout.fileno(), False)
        os.set_blocking(child.stderr.fileno(), False)
        errors = b""
        while child.poll() is None:
            errors = (errors + (child.stderr.read() or b""))[-4000:]
            if child.stdout.read():
                since, limit = time.monotonic(), STALL_SECONDS
            if partial.stat().st_size != size:
                size, since = partial.stat().st_size, time.monotonic()
                show(size, max(size + 1, ARCHIVE_BYTES))
            if time.monotonic() - since > limit:
                return f"stalled after {max(size, 0):,} bytes"
            time.sleep(0.05)
        errors += child.stderr.read() or b""
    if child.returncode == 0:
        return ""
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {child.returncode}"


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end of the block if it still runs."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches only this process
    ) as child:
        try:
            yield child
        finally:
            child.kill()
