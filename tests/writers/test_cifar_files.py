"""CIFAR in each published form, shown on small data sets with digests of their own."""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UserError
from writers import cifar_files, cifar_layouts, download, unpickle
from writers.cifar_layouts import LAYOUTS, Layout


def digest(content: bytes, algorithm: str = "md5") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def python_pickle(pixels: np.ndarray, labels: list[int], key: str = "labels") -> bytes:
    """As Python 2 wrote them: protocol 2, byte strings as keys."""
    return pickle.dumps({b"data": pixels, key.encode(): labels, b"batch_label": b"x"}, protocol=2)


class Small:
    """A data set of a few images, in the form of one of the published layouts."""

    def __init__(self, form: int) -> None:
        random = np.random.default_rng(form)
        published = LAYOUTS[form]
        counts = dict.fromkeys(published.train, 4) | dict.fromkeys(published.test, 3)
        self.pixels = {n: random.integers(0, 256, (c, 3072), np.uint8) for n, c in counts.items()}
        classes = len(cifar_layouts.CLASSES[published.dataset])
        self.labels = {n: random.integers(0, classes, c).tolist() for n, c in counts.items()}
        self.files = {name: self._file(published, name) for name in counts}
        names = list(cifar_layouts.CLASSES[published.dataset])
        for name in published.meta:
            lines = "\n".join(names).encode() + b"\n\n"
            keyed = {published.meta_key.encode(): [n.encode() for n in names]}
            self.files[name] = pickle.dumps(keyed, 2) if published.meta_key else lines

        def own(names: object) -> dict[str, str]:
            return {n: digest(self.files[n]) if d else "" for n, d in dict(names).items()}

        self.layout = dataclasses.replace(
            published,
            train=own(published.train),
            test=own(published.test),
            meta=own(published.meta),
            records=4,
            test_records=3,
        )

    def _file(self, layout: Layout, name: str) -> bytes:
        if layout.label_key:
            return python_pickle(self.pixels[name], self.labels[name], layout.label_key)
        columns = np.zeros((len(self.pixels[name]), layout.label_bytes), np.uint8)
        columns[:, -1] = self.labels[name]
        return np.concatenate([columns, self.pixels[name]], axis=1).tobytes()

    def folder(self, parent: Path) -> Path:
        folder = parent / self.layout.folder
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder

    def archive(self, parent: Path, extra: list[tarfile.TarInfo] | None = None) -> Path:
        path = parent / self.layout.archive
        with tarfile.open(path, "w:gz") as tar:
            for name, content in {**self.files, "readme.html": b"hello"}.items():
                tar.addfile(info(f"{self.layout.folder}/{name}", len(content)), io.BytesIO(content))
            for member in extra or []:
                tar.addfile(member, io.BytesIO(b"x" * member.size))
        return path

    def located(self, path: Path) -> cifar_files.Source:
        return cifar_files.locate(path, self.layout.dataset, [self.layout])


def info(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member


@pytest.fixture
def small() -> Small:
    return Small(0)


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize("way", ["folder", "parent", "archive", "parent of archive"])
def test_every_form_gives_the_same_images_and_labels(tmp_path, form, way):
    small = Small(form)
    path = small.folder(tmp_path) if "archive" not in way else small.archive(tmp_path)
    if "archive" in way:  # as the published one is known by its digest
        own = dataclasses.replace(small.layout, archive_digest=digest(path.read_bytes()))
        small.layout = own
    loaded = small.located(tmp_path if "parent" in way else path).load()
    for split, names in (("train", small.layout.train), ("test", small.layout.test)):
        images, labels = loaded[split].images, loaded[split].labels
        assert loaded[split].classes == cifar_layouts.CLASSES[small.layout.dataset]
        pixels = np.concatenate([small.pixels[name] for name in names])
        assert np.array_equal(images, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        assert labels.tolist() == [label for name in names for label in small.labels[name]]


def test_an_archive_packed_again_is_taken_when_each_file_is_the_published_one(tmp_path, small):
    assert small.located(small.archive(tmp_path)).load()["test"].images.shape == (3, 32, 32, 3)


def test_an_unknown_archive_whose_files_have_no_published_digest_is_refused(tmp_path):
    small = Small(3)
    with pytest.raises(UserError, match="not the published archive"):
        small.located(small.archive(tmp_path)).load()


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("packed", [False, True])
def test_a_changed_byte_in_any_file_is_refused_by_name(tmp_path, form, packed):
    for name in Small(form).files:
        small = Small(form)
        if not small.layout.files[name]:
            continue
        changed = bytearray(small.files[name])
        changed[len(changed) // 2] ^= 1
        small.files[name] = bytes(changed)
        place = tmp_path / name
        place.mkdir()
        path = small.archive(place) if packed else small.folder(place)
        with pytest.raises(UserError, match=rf"{name}: damaged or changed"):
            small.located(path).load()


def test_all_damaged_files_of_a_folder_are_named_at_once(tmp_path, small):
    folder = small.folder(tmp_path)
    (folder / "data_batch_2").unlink()
    (folder / "data_batch_4").write_bytes(b"")
    (folder / "test_batch").unlink()
    os.mkfifo(folder / "test_batch")
    with pytest.raises(UserError) as error:
        small.located(folder)
    assert [p.split(":")[0].rsplit("/")[-1] for p in error.value.problems] == [
        "data_batch_2",
        "data_batch_4",
        "test_batch",
    ]


class Evil:
    def __reduce__(self) -> object:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil(), 2),
        pickle.dumps({b"data": Evil()}, 2),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct.__init__\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    ],
)
def test_a_pickle_with_any_other_import_is_refused_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(unpickle.NotABatch):
        unpickle.load(content)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}",
        b"junk",
        pickle.dumps([1, 2], 2),
        pickle.dumps({b"data": np.zeros((4, 3072), np.int64)}, 2),
        pickle.dumps({b"data": np.zeros((4, 8, 8), np.uint8)}, 2),
        pickle.dumps({b"data": np.asfortranarray(np.ones((4, 3072), np.uint8))}, 2),
    ],
)
def test_a_pickle_that_is_no_batch_is_a_named_error(content):
    with pytest.raises(unpickle.NotABatch):
        unpickle.load(content)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 10], "label 10 of image 3"),
        ([0, -1, 2, 3], "label -1 of image 1"),
        ([0, 1, 2], "3 labels for 4 images"),
        ([0, 1, 2, "3"], "not integers"),
        ([0, 1, 2, 1 << 70], "not integers"),
        ([0, 1, 2, True], "not integers"),
    ],
)
def test_bad_labels_are_named_even_with_the_right_digest(tmp_path, small, labels, message):
    small.files["data_batch_3"] = python_pickle(small.pixels["data_batch_3"], labels)
    train = {**small.layout.train, "data_batch_3": digest(small.files["data_batch_3"])}
    small.layout = dataclasses.replace(small.layout, train=train)
    with pytest.raises(UserError, match=rf"data_batch_3.*{message}"):
        small.located(small.folder(tmp_path)).load()


@pytest.mark.parametrize("change", [-1, 1, -3074])
def test_a_binary_file_of_another_length_is_refused(tmp_path, change):
    small = Small(3)
    content = small.files["train.bin"]
    small.files["train.bin"] = content + b"x" if change > 0 else content[:change]
    with pytest.raises(UserError, match=r"train\.bin"):
        small.located(small.folder(tmp_path)).load()


def test_a_binary_label_out_of_range_is_refused(tmp_path):
    small = Small(3)
    content = bytearray(small.files["train.bin"])
    content[3074 + 1] = 100
    small.files["train.bin"] = bytes(content)
    with pytest.raises(UserError, match="label 100 of image 1, expected 0 to 99"):
        small.located(small.folder(tmp_path)).load()


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (info("/etc/passwd", 3), "outside the folder"),
        (info("cifar/../../x", 3), "outside the folder"),
        (info("cifar\\..\\x", 3), "outside the folder"),
        (info("cifar/data_batch_9", kind=tarfile.SYMTYPE, link="/etc/passwd"), "regular file"),
        (info("cifar/data_batch_9", kind=tarfile.LNKTYPE, link="x"), "regular file"),
        (info("cifar/data_batch_9", kind=tarfile.CHRTYPE), "regular file"),
        (info("cifar/data_batch_9", kind=tarfile.FIFOTYPE), "regular file"),
        (info("elsewhere/data_batch_1", 3), "twice"),
        (info("swollen", (1 << 24) + 1_000_000), "more bytes than the data set"),
    ],
)
def test_a_member_that_could_do_harm_is_refused(tmp_path, small, member, message):
    path = small.archive(tmp_path, [member])
    with pytest.raises(UserError, match=message):
        small.located(path).load()


def test_a_member_larger_than_the_published_file_is_refused_unread(tmp_path, small):
    small.files["data_batch_1"] = bytes(small.layout.most_bytes("data_batch_1") + 1)
    with pytest.raises(UserError, match="data_batch_1 claims"):
        small.located(small.archive(tmp_path)).load()


def test_a_member_whose_bytes_are_fewer_than_it_claims_is_refused(tmp_path, small):
    path = small.archive(tmp_path)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:20_000]))
    with pytest.raises(UserError, match="truncated, damaged"):
        small.located(path).load()


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99, -4])
def test_a_truncated_archive_is_refused(tmp_path, small, keep):
    path = small.archive(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep < 0 else int(len(content) * keep)])
    with pytest.raises(UserError, match="truncated, damaged"):
        small.located(path).load()


def test_an_archive_without_a_batch_names_it(tmp_path, small):
    del small.files["test_batch"]
    with pytest.raises(UserError, match="no test_batch"):
        small.located(small.archive(tmp_path)).load()


@pytest.mark.parametrize(
    "content", [b"", b"not an archive" * 100, gzip.compress(b"x" * 5000, mtime=0)]
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, small, content):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="empty|truncated, damaged|contains no file"):
        small.located(path).load()


def test_paths_that_are_no_data_are_refused_without_opening_them(tmp_path, small):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    for name, message in (("pipe", "neither"), ("none", "no such"), ("empty", "looked for")):
        with pytest.raises(UserError, match=message):
            small.located(tmp_path / name)


def test_the_other_data_set_is_recognised(tmp_path, small):
    small.folder(tmp_path)
    with pytest.raises(UserError, match=r"add --data\.name cifar10"):
        cifar_files.locate(tmp_path, "cifar100", [*LAYOUTS[2:], small.layout])


def test_the_published_digests_and_addresses_are_torchvisions():
    from torchvision.datasets import CIFAR10, CIFAR100

    for layout, theirs in ((LAYOUTS[0], CIFAR10), (LAYOUTS[2], CIFAR100)):
        assert layout.folder == theirs.base_folder
        assert layout.archive == theirs.filename
        assert layout.archive_digest == f"md5:{theirs.tgz_md5}"
        assert theirs.url == download.SERVER + layout.archive
        expected = [*theirs.train_list, *theirs.test_list]
        expected.append([theirs.meta["filename"], theirs.meta["md5"]])
        assert layout.files == {name: f"md5:{md5}" for name, md5 in expected}


def nested_tuples(levels: int) -> bytes:
    """Each holds the one before twice: 2 ** levels values in a few bytes."""
    pairs = b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(levels))
    return b"\x80\x02}" + b"(K\x01q\x00K\x01\x86q\x00" + pairs + b"K\x01u."


@pytest.mark.parametrize(
    "content",
    [
        nested_tuples(60),
        b"\x80\x02]q\x00" + b"h\x00a" * 3 + b".",
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",
        b"p2147483647\n.",
        b"\x80\x02K\x0122.",
        b"N0" * 1_100_000 + b".",
    ],
    ids=["tuples", "list", "LONG_BINPUT", "PUT", "DUP", "long"],
)
def test_a_pickle_that_grows_without_end_is_refused_before_it_does(content: bytes) -> None:
    with pytest.raises(unpickle.NotABatch):
        unpickle.load(content)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_of_newer_protocols_are_read(protocol: int) -> None:
    pixels = np.zeros((3, 3072), np.uint8)
    batch = {b"data": pixels, b"labels": [1, 2, 1], b"filenames": [b"a", b"b", b"a"]}
    assert unpickle.load(pickle.dumps(batch, protocol))[b"labels"] == [1, 2, 1]
