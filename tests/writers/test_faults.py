"""The writing command under real signals, full disks and kills: old files stay as they were."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def command(folder: Path, limit: int, *more: str) -> list[str]:
    script = str(ROOT / "writers" / "cifar.py")
    given = ["--data.source", "synthetic", "--data.folder", str(folder)]
    return [sys.executable, script, *given, "--data.limit", str(limit), *more]


def run(
    folder: Path, limit: int, *more: str, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, limit, *more),
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=before,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    assert run(folder, 300).returncode == 0
    return contents(folder)


@pytest.fixture
def folder(tmp_path: Path, good: dict[str, bytes]) -> Path:
    """A data folder with whole files of an earlier call."""
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def reached(process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    while not holds():
        assert process.poll() is None, "the command ended before it got there"
        time.sleep(0.002)


@pytest.mark.parametrize("moment", ["importing", "writing", "second file"])
def test_ctrl_c_leaves_the_old_files_and_exits_130(folder, good, moment):
    process = subprocess.Popen(command(folder, 20_000, "--force"), stderr=subprocess.PIPE)
    train = folder / "synthetic_train.beton.partial"
    test = folder / "synthetic_test.beton.partial"
    if moment == "importing":
        time.sleep(2)
    elif moment == "writing":
        reached(process, lambda: train.exists() and train.stat().st_size > 0)
    else:
        reached(process, lambda: test.exists() and test.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=50)
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said
    assert contents(folder) == good


def test_a_kill_leaves_the_old_files_and_the_next_call_succeeds(folder, good):
    process = subprocess.Popen(command(folder, 20_000, "--force"), stderr=subprocess.PIPE)
    partial = folder / "synthetic_train.beton.partial"
    reached(process, lambda: partial.exists() and partial.stat().st_size > 0)
    process.kill()
    process.communicate(timeout=50)
    assert {name: contents(folder)[name] for name in good} == good
    assert run(folder, 300).returncode == 0
    assert run(folder, 310, "--force").returncode == 0
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("megabytes", [1, 12])
def test_a_file_size_limit_is_a_named_error_and_leaves_the_old_files(folder, good, megabytes):
    limit = megabytes << 20

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = run(folder, 3000, "--force", before=lower)
    assert done.returncode == 2, done.stderr
    assert "synthetic_train.beton: the file would exceed the size limit" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(folder) == good


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place)]
    try:
        made = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_too_small_is_refused_before_writing(small_disk, good):
    for name, content in good.items():
        if name.endswith(".json"):
            (small_disk / name).write_bytes(content)
    before = contents(small_disk)
    done = run(small_disk, 20_000)
    assert done.returncode == 2
    assert "bytes are needed" in done.stderr
    assert contents(small_disk) == before


def test_a_disk_that_fills_up_while_writing_is_a_named_error(small_disk):
    code = (
        "import sys, shutil, types\n"
        "from writers import disk_array\n"
        "disk_array.LARGE = 10**12\n"
        "shutil.disk_usage = lambda path: types.SimpleNamespace(free=10**12)\n"
        "from writers import command\n"
        "command.write()\n"
    )
    given = command(small_disk, 20_000)[2:]
    done = subprocess.run(
        [sys.executable, "-c", code, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 2, done.stderr
    assert "synthetic_train.beton: no space left on the disk" in done.stderr
    assert contents(small_disk) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_named_error(folder, good):
    folder.chmod(0o500)
    done = run(folder, 310, "--force")
    folder.chmod(0o700)
    assert done.returncode == 2 and "permission denied" in done.stderr
    assert contents(folder) == good
