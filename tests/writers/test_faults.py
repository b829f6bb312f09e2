"""The writing command under real signals, full disks and kills: old files stay as they were."""

import os
import resource
import shutil
import signal
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import WarmProcess, python, run, run_warm, start_warm
from tests.support.written import contents, write_synthetic
from writers import disk_array


def flags(folder: Path, limit: int) -> list[str]:
    source = ["--data.source", "synthetic", "--data.folder", str(folder)]
    return [*source, "--data.limit", str(limit), "--force"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    assert write_synthetic(folder) == 0
    return contents(folder)


@pytest.fixture
def folder(tmp_path: Path, good: dict[str, bytes]) -> Path:
    """A data folder with whole files of an earlier call."""
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def wait_until(process: WarmProcess, reached: Callable[[], bool]) -> None:
    while not reached():
        assert process.poll() is None, "the command ended too early"
        time.sleep(0.002)


def grows(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@pytest.mark.parametrize(
    "moment",
    ["importing ffcv", pytest.param("writing", marks=pytest.mark.slow), "writing the second file"],
)
def test_ctrl_c_leaves_the_old_files_and_exits_130(folder, good, moment):
    process = start_warm("write", *flags(folder, 8000))
    maps = Path(f"/proc/{process.pid}/maps")
    reached = {
        "importing ffcv": lambda: "_libffcv" in maps.read_text(),
        "writing": lambda: grows(folder / "synthetic_train.beton.partial"),
        "writing the second file": lambda: grows(folder / "synthetic_test.beton.partial"),
    }
    wait_until(process, reached[moment])
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert contents(folder) == good


def test_a_kill_leaves_the_old_files_and_the_next_call_succeeds(folder, good):
    process = start_warm("write", *flags(folder, 8000))
    wait_until(process, lambda: grows(folder / "synthetic_train.beton.partial"))
    process.kill()
    process.communicate()
    assert {name: contents(folder)[name] for name in good} == good
    assert write_synthetic(folder) == 0
    assert write_synthetic(folder, "--force", limit=310) == 0
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("megabytes", [1, 12])
def test_a_file_size_limit_is_a_named_error_and_leaves_the_old_files(folder, good, megabytes):
    limits = {resource.RLIMIT_FSIZE: megabytes << 20}
    result = run_warm("write", *flags(folder, 3000), limits=limits)
    assert result.returncode == 2, result.stderr
    assert "synthetic_train.beton: the file would exceed the size limit" in result.stderr
    assert "Traceback" not in result.stderr
    assert contents(folder) == good


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 20 MiB; 3,000 images take 42 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield place
    assert run("umount", place).returncode == 0


def test_a_disk_too_small_is_refused_before_writing(small_disk, good, capsys):
    for name, content in good.items():
        if name.endswith(".json"):
            (small_disk / name).write_bytes(content)
    before = contents(small_disk)
    assert write_synthetic(small_disk, limit=3000) == 2
    assert "bytes are needed" in capsys.readouterr().err
    assert contents(small_disk) == before


def test_a_disk_that_fills_up_while_writing_is_a_named_error(small_disk, monkeypatch, capsys):
    monkeypatch.setattr(disk_array, "LARGE", 10**12)  # the images stay in memory
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10**12))
    assert write_synthetic(small_disk, limit=3000) == 2
    assert "synthetic_train.beton: no space left on the disk" in capsys.readouterr().err
    assert contents(small_disk) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_named_error(folder, good, capsys):
    folder.chmod(0o500)
    assert write_synthetic(folder, "--force", limit=310) == 2
    folder.chmod(0o700)
    assert "permission denied" in capsys.readouterr().err
    assert contents(folder) == good


def test_ctrl_c_inside_a_library_leaves_no_traceback() -> None:
    """It came between two lines of multiprocessing, which FFCV's allocator uses."""
    code = (
        "import os, signal, types; from multiprocessing import Value, util\n"
        "from writers.console import CtrlC\n"
        "class Counter:\n"
        "    def __next__(self): os.kill(os.getpid(), signal.SIGINT); return 1\n"
        "util._finalizer_counter = Counter()\n"
        "try:\n    with CtrlC(): Value('Q', 0)\n"
        "except KeyboardInterrupt: print('stopped')\n"
    )
    done = run(*python("-c", code))
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
