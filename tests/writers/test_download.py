"""Downloads from a server on this machine."""

import contextlib
import dataclasses
import hashlib
import http.server
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import UserError, run_command
from tests.support.processes import python, start
from writers import cifar, download
from writers.cifar_layouts import LAYOUTS
from writers.console import Console

CONTENT = bytes(range(256)) * 1000
PUBLISHED = dataclasses.replace(
    LAYOUTS[0], archive_digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}"
)


@contextlib.contextmanager
def server(sent: bytes, claimed: int, stall: bool = False) -> Iterator[str]:
    """Answers every request alike; with `stall` it then keeps the line open and sends nothing."""
    over = threading.Event()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(claimed))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(sent)
            self.wfile.flush()
            if stall:
                over.wait(30)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http_server.server_port}/"
        finally:
            over.set()
            http_server.shutdown()
            thread.join()


def fetch(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(download, "SERVER", url)
    return download.fetch(PUBLISHED, folder, Console(quiet=True))


def test_a_download_arrives_whole(tmp_path, monkeypatch):
    with server(CONTENT, len(CONTENT)) as url:
        path = fetch(tmp_path / "data", url, monkeypatch)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize(
    "sent",
    [CONTENT[:-1] + b"x", pytest.param(CONTENT[:1000], marks=pytest.mark.slow)],
    ids=["damaged", "cut"],
)
def test_a_damaged_or_cut_download_is_refused_and_removed(tmp_path, monkeypatch, sent):
    with server(sent, len(sent)) as url, pytest.raises(UserError, match="alternatives"):
        fetch(tmp_path, url, monkeypatch)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_server_that_stops_sending_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 1.0)
    with (
        server(CONTENT[:1000], len(CONTENT), stall=True) as url,
        pytest.raises(UserError, match="timed out"),
    ):
        fetch(tmp_path, url, monkeypatch)
    assert not list(tmp_path.iterdir())


def test_without_network_the_alternatives_are_named_and_nothing_is_written(
    tmp_path, monkeypatch, capsys
):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(download, "SERVER", f"http://127.0.0.1:{taken.getsockname()[1]}/")
        code = run_command(cifar.main, ["--data.folder", str(tmp_path / "data")])
    message = capsys.readouterr().err
    assert code == 2
    assert "put cifar-10-python.tar.gz into" in message
    assert "--data.source PATH" in message and "--data.source synthetic" in message
    assert not list(tmp_path.iterdir())


def test_a_name_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    asleep = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asleep.wait(200) and [])
    began = time.monotonic()
    with pytest.raises(UserError, match="no answer"):
        fetch(tmp_path, "http://example.invalid/", monkeypatch)
    asleep.set()
    assert time.monotonic() - began < 100


def test_a_machine_without_network_knows_within_15_seconds():
    assert download.TIMEOUT_SECONDS + 1 < 12


def test_ctrl_c_stops_a_download_and_leaves_nothing(tmp_path):
    with server(CONTENT[:100_000], len(CONTENT), stall=True) as url:
        code = (
            "import sys; from writers import cifar, download\n"
            f"download.SERVER = {url!r}\n"
            "from engine.errors import run_command\n"
            "sys.exit(run_command(cifar.main))\n"
        )
        process = start(*python("-c", code, "--data.folder", tmp_path), stdout=None, stderr=None)
        partial = tmp_path / "cifar-10-python.tar.gz.partial"
        while not (partial.exists() and partial.stat().st_size):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert not list(tmp_path.iterdir())
