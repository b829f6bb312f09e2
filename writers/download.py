"""The published archive from the network, by torchvision's downloader and its checksum.

It runs in a process of its own, which can be ended when it hangs: in a name server that does not
answer, in a server that stops sending. A short question to the server comes first, because
importing torchvision takes seconds and a machine without network should know at once.
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
from engine.errors import UserError
from writers.cifar_layouts import Layout
from writers.console import Console

ANSWER_SECONDS = 8.0  # for the server's first answer, its name looked up included
STALL_SECONDS = 20.0  # without a byte more
START_SECONDS = 120.0  # torchvision's import on a slow disk

SERVER = "https://www.cs.toronto.edu/~kriz/"  # as in torchvision.datasets.CIFAR10.url
_CHILD = """
import socket, sys
socket.setdefaulttimeout({timeout})
from torchvision.datasets.utils import download_url
print("ready", flush=True)
download_url(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
"""


def fetch(layout: Layout, folder: Path, console: Console) -> Path:
    """The archive of `layout` in `folder`, whole and with the published MD5."""
    url = SERVER + layout.archive
    target = folder / layout.archive
    console.say(f"no {layout.dataset} in {folder}: downloading {url}")
    _ask(url, layout, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made a folder ({error.strerror})") from None
    with atomic.replacing(target) as partial:
        problem = _download(url, partial, layout.archive_digest.partition(":")[2], console)
        if problem:
            raise UserError(*_ways_on(url, problem, layout, folder))
    return target


def _ask(url: str, layout: Layout, folder: Path) -> None:
    """Refuse soon if nobody answers; in a thread, since a name look-up cannot be interrupted."""
    answers: list[str] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                answers.append("")
        except Exception as error:
            answers.append(str(error) or type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS + 1)
    problem = answers[0] if answers else "no answer"
    if problem:
        raise UserError(*_ways_on(url, problem, layout, folder))


def _ways_on(url: str, problem: str, layout: Layout, folder: Path) -> tuple[str, ...]:
    return (
        f"{url}: not downloaded ({problem}); three ways on:",
        f"  put {layout.archive} into {folder}/ and call again",
        f"  --data.source PATH, where PATH is {layout.archive} or the folder {layout.folder}",
        "  --data.source synthetic, the built-in set of figures",
    )


def _download(url: str, partial: Path, md5: str, console: Console) -> str:
    """Download to `partial`; what went wrong, or nothing."""
    code = _CHILD.format(timeout=ANSWER_SECONDS)
    arguments = [url, str(partial.parent), partial.name, md5]
    with _child([sys.executable, "-c", code, *arguments]) as child:
        size, since, limit = -1, time.monotonic(), START_SECONDS
        show = console.progress(partial.name)
        assert child.stdout is not None and child.stderr is not None
        os.set_blocking(child.stdout.fileno(), False)
        os.set_blocking(child.stderr.fileno(), False)
        said = b""
        while child.poll() is None:
            said = (said + (child.stderr.read() or b""))[-4000:]
            if child.stdout.read():
                since, limit = time.monotonic(), STALL_SECONDS
            if partial.stat().st_size != size:
                size, since = partial.stat().st_size, time.monotonic()
                show(size, max(size + 1, 170_498_071))
            if time.monotonic() - since > limit:
                return f"stalled after {max(size, 0):,} bytes"
            time.sleep(0.05)
        said += child.stderr.read() or b""
    if child.returncode == 0:
        return ""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {child.returncode}"


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block ends, whatever ends it."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to handle
    ) as child:
        try:
            yield child
        finally:
            child.kill()
