"""Download a published archive with torchvision and check its MD5.

A HEAD request comes first, because importing torchvision takes seconds and a missing network should
be reported at once. torchvision runs in a child process, so that the memory of its imports is free
again before images are read.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from engine import atomic
from engine.errors import UserError, with_path
from writers.cifar_layouts import Layout
from writers.console import Console

TIMEOUT_SECONDS = 8.0  # without an answer or a new byte, also for looking up the server's name
ARCHIVE_BYTES = 170_498_071  # for the progress bar: CIFAR-10's; CIFAR-100's is 1 % smaller
SERVER = "https://www.cs.toronto.edu/~kriz/"  # as in torchvision.datasets.CIFAR10.url
_CHILD = """
import socket, sys
socket.setdefaulttimeout(float(sys.argv[1]))
from torchvision.datasets.utils import download_url
download_url(*sys.argv[2:])
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
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                answers.append("")
        except Exception as error:
            answers.append(str(error) or type(error).__name__)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS + 1)
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
    command = [sys.executable, "-c", _CHILD, str(TIMEOUT_SECONDS)]
    command += [url, str(partial.parent), partial.name, md5]
    show = console.progress(partial.name)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches only this process
    ) as child:
        try:
            while child.returncode is None:
                try:
                    _, output = child.communicate(timeout=0.1)
                except subprocess.TimeoutExpired:
                    size = partial.stat().st_size
                    show(size, max(size + 1, ARCHIVE_BYTES))
        finally:
            child.kill()
            show(1, 1)
    if child.returncode == 0:
        return ""
    lines = output.strip().splitlines()
    return lines[-1] if lines else f"exit code {child.returncode}"
