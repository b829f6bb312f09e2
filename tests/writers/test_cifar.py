"""`python writers/cifar.py`, mostly called as a function."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.data import sidecar
from engine.errors import UserError, run_command
from tests.support.paths import ROOT
from writers import cifar, dataset_statistics, disk_array, download, inputs, outputs, synthetic

SHARED = ROOT.parent / "shared" / "data"


def write(folder: Path, *more: str) -> int:
    return run_command(cifar.main, ["--data.folder", str(folder), *more])


def figures(folder: Path, *more: str, limit: int = 300) -> int:
    return write(folder, "--data.source", "synthetic", "--data.limit", str(limit), *more)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ages(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def images_read_from(beton: Path) -> tuple[np.ndarray, np.ndarray]:
    from ffcv.reader import Reader

    reader = Reader(str(beton))
    content = np.fromfile(beton, np.uint8)
    pointers = reader.metadata["f0"]["data_ptr"].astype(np.int64)
    images = [content[start : start + 3072].reshape(32, 32, 3) for start in pointers]
    return np.stack(images), reader.metadata["f1"]


def test_figures_are_written_with_true_sidecars_and_their_paths_printed(tmp_path, capsys):
    assert figures(tmp_path) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [str(tmp_path / f"synthetic_{split}.beton") for split in ("train", "test")]
    for split, count in (("train", 300), ("test", 60)):
        path = tmp_path / f"synthetic_{split}.beton"
        images, labels = images_read_from(path)
        expected, expected_labels = synthetic.generate(split, count)
        assert np.array_equal(images, expected) and np.array_equal(labels, expected_labels)
        known = sidecar.read(path)
        assert known is not None
        assert (known.dataset, known.split, known.samples) == ("synthetic", split, count)
        assert known.classes == synthetic.CLASSES
        assert known.class_counts == tuple(np.bincount(labels, minlength=10))
        assert known.image_shape == (32, 32, 3)
        assert known.bytes == path.stat().st_size
        assert known.sha256 == sidecar.sha256_of(path)
        assert np.allclose(known.mean, images.reshape(-1, 3).mean(0) / 255)
        assert np.allclose(known.std, images.reshape(-1, 3).std(0) / 255)
        assert set(known.versions) == {"ffcv", "numpy", "python"}
        assert known.sources


def test_two_runs_give_identical_files_and_sidecars(tmp_path):
    assert figures(tmp_path / "a") == figures(tmp_path / "b") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_what_is_there_and_right_is_left_alone(tmp_path, capsys):
    figures(tmp_path)
    before = ages(tmp_path)
    capsys.readouterr()
    assert figures(tmp_path) == 0
    shown = capsys.readouterr()
    assert ages(tmp_path) == before
    assert shown.err.count("already there and right") == 2
    assert len(shown.out.splitlines()) == 2


def test_quiet_says_only_the_results(tmp_path, capsys):
    assert figures(tmp_path, "--quiet") == 0
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.splitlines()) == 2


def test_no_bar_and_no_colour_where_there_is_no_terminal(tmp_path, capsys):
    figures(tmp_path)
    shown = capsys.readouterr()
    assert "\r" not in shown.err and "\x1b" not in shown.err + shown.out


def test_what_is_there_and_different_is_refused_without_force(tmp_path, capsys):
    figures(tmp_path)
    before = contents(tmp_path)
    assert figures(tmp_path, limit=310) == 2
    assert contents(tmp_path) == before
    assert capsys.readouterr().err.count("--force") == 2
    assert figures(tmp_path, "--force", limit=310) == 0
    assert json.loads((tmp_path / "synthetic_train.beton.json").read_text())["samples"] == 310


@pytest.mark.parametrize("with_sidecar", [True, False])
def test_a_strangers_or_damaged_file_is_never_overwritten_without_force(tmp_path, with_sidecar):
    figures(tmp_path)
    path = tmp_path / "synthetic_test.beton"
    path.write_bytes(b"somebody's work")
    if not with_sidecar:
        sidecar.path_of(path).unlink()
    before = contents(tmp_path)
    assert figures(tmp_path) == 2
    assert contents(tmp_path) == before
    assert figures(tmp_path, "--force") == 0
    assert figures(tmp_path) == 0


@pytest.mark.parametrize("old", [None, b"{}", b"not json", b"of other content"])
def test_a_crash_between_file_and_sidecar_heals_without_force(tmp_path, old):
    figures(tmp_path)
    good = contents(tmp_path)
    described = tmp_path / "synthetic_train.beton.json"
    if old is None:
        described.unlink()
    elif old == b"of other content":
        described.write_bytes(good[described.name].replace(b'"samples": 300', b'"samples": 200'))
    else:
        described.write_bytes(old)
    assert figures(tmp_path) == 0
    assert contents(tmp_path) == good


def test_only_the_missing_split_is_written(tmp_path):
    figures(tmp_path)
    good, before = contents(tmp_path), ages(tmp_path)
    (tmp_path / "synthetic_test.beton").unlink()
    assert figures(tmp_path) == 0
    assert contents(tmp_path) == good
    assert ages(tmp_path)["synthetic_train.beton"] == before["synthetic_train.beton"]


def test_rests_of_a_killed_run_are_no_obstacle(tmp_path):
    (tmp_path / "synthetic_train.beton.partial").write_bytes(b"x" * 100)
    assert figures(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_a_second_writer_of_the_same_file_is_refused(tmp_path, capsys):
    from engine import atomic

    with atomic.replacing(tmp_path / "synthetic_train.beton"):
        assert figures(tmp_path) == 2
    assert "another process" in capsys.readouterr().err


def test_if_the_second_split_fails_the_first_stays_as_it_was(tmp_path, monkeypatch):
    figures(tmp_path)
    before = contents(tmp_path)
    from engine.data import ffcv_files

    real = ffcv_files.write

    def failing(path: Path, *rest: object) -> None:
        if "test" in path.name:
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(ffcv_files, "write", failing)
    assert figures(tmp_path, "--force", limit=310) == 2
    assert contents(tmp_path) == before


def arrays(folder: Path, count: int = 20) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = random.integers(-1, 10, count)
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", images)
    np.save(folder / "y.npy", labels)
    return folder / "x.npy", folder / "y.npy", images, labels


def test_a_hidden_set_without_labels_is_written_as_unknown(tmp_path, capsys):
    x, _, images, _ = arrays(tmp_path / "in")
    out = tmp_path / "out"
    assert write(out, "--data.images", str(x), "--data.split", "hidden") == 0
    assert capsys.readouterr().out == f"{out / 'cifar10_hidden.beton'}\n"
    read, labels = images_read_from(out / "cifar10_hidden.beton")
    assert np.array_equal(read, images) and (labels == -1).all()
    known = sidecar.read(out / "cifar10_hidden.beton")
    assert known is not None and known.class_counts == (0,) * 10
    assert known.classes[0] == "airplane" and known.split == "hidden"


def test_an_extra_set_keeps_known_labels_and_a_name_of_its_own(tmp_path):
    x, y, _, labels = arrays(tmp_path / "in")
    given = ("--data.images", str(x), "--data.labels", str(y), "--data.split", "extra")
    assert write(tmp_path, *given, "--data.name", "mine") == 0
    path = tmp_path / "mine_extra.beton"
    assert np.array_equal(images_read_from(path)[1], labels)
    known = sidecar.read(path)
    assert known is not None and sum(known.class_counts) == (labels >= 0).sum()
    assert set(known.sources) == {"x.npy", "y.npy"}


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((4, 3, 32, 32), np.uint8), None, "N H W 3"),
        (np.zeros((4, 32, 32, 3), np.float32), None, "float32"),
        (np.zeros((0, 32, 32, 3), np.uint8), None, "no images"),
        (np.array([{}, {}]), None, "not an array"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 10]), "label 10 of sample 1"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([-2, 1]), "label -2 of sample 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([1, 2, 3]), "expected 2 integers"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([1.0, 2.0]), "float64"),
    ],
)
def test_a_bad_sample_is_refused_by_name_and_nothing_is_made(
    tmp_path, capsys, images, labels, said
):
    np.save(tmp_path / "x.npy", images, allow_pickle=True)
    given = ["--data.images", str(tmp_path / "x.npy"), "--data.split", "extra"]
    if labels is not None:
        np.save(tmp_path / "y.npy", labels)
        given += ["--data.labels", str(tmp_path / "y.npy")]
    assert write(tmp_path / "out", *given) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    given = ("--data.images", str(tmp_path / "x.npy"), "--data.split", "extra")
    assert write(tmp_path, *given) == 2


def test_paths_that_are_no_files_are_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none", "."):
        given = ("--data.images", str(tmp_path / name), "--data.split", "extra")
        assert write(tmp_path, *given) == 2
    for name in ("pipe", "none", "."):
        assert write(tmp_path, "--data.source", str(tmp_path / name)) == 2
    (tmp_path / "file").write_text("")
    assert figures(tmp_path / "file") == 2
    (tmp_path / "synthetic_train.beton").mkdir()
    assert figures(tmp_path) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ("--data.images", "x.npy"),
        ("--data.images", "x.npy", "--data.split", "../x"),
        ("--data.images", "x.npy", "--data.split", ".."),
        ("--data.images", "x.npy", "--data.split", "a/b"),
        ("--data.images", "x.npy", "--data.split", "test"),
        ("--data.images", "x.npy", "--data.split", "e", "--data.source", "y"),
        ("--data.images", "x.npy", "--data.split", "e", "--data.name", "/tmp/x"),
        ("--data.labels", "y.npy"),
        ("--data.split", "extra"),
        ("--data.name", "cifar11"),
        ("--data.source", "synthetic", "--data.name", "cifar100"),
        ("--data.limit", "-1"),
        ("--data.folder", ""),
        ("--data.sorce", "x"),
        ("stray",),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    assert run_command(cifar.main, given) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("split", ["train", "test"])
def test_sums_for_the_sidecar_agree_with_numpy(split):
    images, labels = synthetic.generate(split, 450)
    mean, std = dataset_statistics.mean_and_std(images)
    assert np.allclose(mean, images.reshape(-1, 3).mean(0) / 255, rtol=1e-12)
    assert np.allclose(std, images.reshape(-1, 3).std(0) / 255, rtol=1e-12)
    assert sum(dataset_statistics.class_counts(labels, 10)) == 450


@pytest.mark.parametrize("command", [["writers/cifar.py"], ["-m", "writers.cifar"]])
def test_it_runs_as_a_file_and_as_a_module_without_importing_torch_for_nothing(tmp_path, command):
    assert figures(tmp_path) == 0
    given = ["--data.source", "synthetic", "--data.limit", "300", "--data.folder", str(tmp_path)]
    timed = [sys.executable, "-X", "importtime", *command, *given]
    done = subprocess.run(timed, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    assert not re.search(r"\| +(torch|ffcv)\n", done.stderr)


def test_it_runs_from_anywhere(tmp_path):
    script = [sys.executable, str(ROOT / "writers" / "cifar.py"), "--help"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0 and "--data.source" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def real(cifar10: Path) -> Path:
    return cifar10.parent


def test_all_of_cifar10_is_found_and_written_in_less_than_1_gb(real):
    # A process starts with the peak of the one that started it, so a small one must: not pytest.
    measure = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "_, status, used = os.wait4(process.pid, 0)\n"
        "print(os.waitstatus_to_exitcode(status), used.ru_maxrss)"
    )
    script = [sys.executable, str(ROOT / "writers" / "cifar.py"), "--data.folder", str(real)]
    done = subprocess.run(
        [sys.executable, "-c", measure, *script], stdout=subprocess.PIPE, text=True
    )
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0
    assert kilobytes * 1024 < 1e9
    known = sidecar.read(real / "cifar10_train.beton")
    assert known is not None and known.samples == 50_000
    assert known.class_counts == (5000,) * 10
    assert [round(value, 4) for value in known.mean] == [0.4914, 0.4822, 0.4465]
    assert [round(value, 4) for value in known.std] == [0.247, 0.2435, 0.2616]
    assert known.sources["data_batch_1"] == "md5:c99cafc152244af753f735de768cd75f"


def test_what_was_written_before_is_right_also_when_its_source_is_gone(
    real, tmp_path, monkeypatch, capsys
):
    def no_network(*args):
        raise UserError("no network")

    monkeypatch.setattr(download, "fetch", no_network)
    limit = ["--data.limit", "100"]
    assert write(tmp_path, "--data.source", str(real), *limit) == 0
    before = ages(tmp_path)
    assert write(tmp_path, *limit) == 0
    assert "already there and right" in capsys.readouterr().err
    assert ages(tmp_path) == before
    assert write(tmp_path, "--data.limit", "99") == 2  # others are wanted: they have to come
    file = tmp_path / "cifar10_test.beton"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert write(tmp_path, *limit) == 2


def test_a_damaged_source_is_refused_and_the_old_files_stay(real, tmp_path, capsys):
    from shutil import copytree

    folder = tmp_path / "cifar-10-batches-py"
    copytree(real / "cifar-10-batches-py", folder)
    given = ("--data.source", str(folder), "--data.limit", "50")
    assert write(tmp_path / "out", *given) == 0
    before = contents(tmp_path / "out")
    with open(folder / "data_batch_5", "r+b") as batch:
        batch.seek(12_345_678)
        byte = batch.read(1)
        batch.seek(-1, 1)
        batch.write(bytes([byte[0] ^ 4]))
    capsys.readouterr()
    assert write(tmp_path / "out", *given, "--force") == 2
    assert "data_batch_5" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_every_origin_states_its_counts_before_anything_is_read(tmp_path):
    x, _, _, _ = arrays(tmp_path)
    from writers.console import Console
    from writers.settings import Data

    drawn = inputs.choose(Data(source="synthetic"), Console(quiet=True))
    assert drawn.samples == {"train": 50_000, "test": 10_000}
    extra = inputs.choose(Data(images=str(x), split="extra", limit=5), Console(quiet=True))
    assert extra.samples == {"extra": 5}
    target = outputs.Target(tmp_path / "no.beton", "mine", "extra", 5, extra.sources)
    assert not outputs.is_right(target)


def test_images_set_aside_are_read_back_in_any_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 4, 3, 3), np.uint8)
    spooled = disk_array.DiskArray(images, tmp_path)
    assert not list(tmp_path.iterdir())  # the file has no name to leave behind
    assert (len(spooled), spooled.shape, spooled.nbytes) == (2500, images.shape, images.nbytes)
    for index in (0, 1023, 1024, 2499, 7):
        assert (spooled[index] == images[index]).all()
    for part in (slice(0, 10), slice(1000, 1100), slice(2400, 9999), slice(5, 5)):
        assert (spooled[part] == images[part]).all()
    assert (np.stack(list(spooled)) == images).all()
    assert dataset_statistics.mean_and_std(spooled) == dataset_statistics.mean_and_std(images)
    assert disk_array.on_disk_if_large(images, tmp_path, 10**9) is images  # few stay where they are
