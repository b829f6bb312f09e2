"""How CIFAR-10 and CIFAR-100 are published: file names, record counts and digests.

The MD5s are those of the data sets' page (torchvision checks the same). For the files inside the
CIFAR-10 binary archive none are published there; theirs are SHA-256 of the records of the Python
version, and their SHA-1 equal those published by MXNet. CIFAR-100's binary files in a folder are
checked by their structure only, not by a digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SIDE = 32
PIXELS = 3 * SIDE * SIDE  # bytes per image, one plane after the other

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
    "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
CLASSES = {"cifar10": CIFAR10_CLASSES, "cifar100": CIFAR100_CLASSES}


@dataclass(frozen=True)
class Layout:
    """One published form of a data set."""

    dataset: str
    folder: str
    archive: str
    archive_digest: str
    train: Mapping[str, str]  # digest by file name; empty: unknown
    test: Mapping[str, str]
    meta: Mapping[str, str]  # the file with the names of the classes
    records: int  # in each file of train, and of test unless `test_records` is given
    label_key: str = ""  # in a Python batch; empty for a binary one
    meta_key: str = ""
    label_bytes: int = 0  # before each image of a binary batch; the last is the label used
    test_records: int = 0

    @property
    def class_count(self) -> int:
        """How many classes the labels have."""
        return len(CLASSES[self.dataset])

    @property
    def known(self) -> bool:
        """Whether every file with images has a published digest."""
        return all(self.train.values()) and all(self.test.values())

    @property
    def files(self) -> dict[str, str]:
        """The digest of each needed file, by name."""
        return {**self.train, **self.test, **self.meta}

    def records_of(self, name: str) -> int:
        """How many images the file holds."""
        return self.test_records or self.records if name in self.test else self.records

    def samples(self, split: str) -> int:
        """How many images the split has."""
        return sum(map(self.records_of, self.train if split == "train" else self.test))

    def most_bytes(self, name: str) -> int:
        """No published file is larger; a larger one is not read."""
        if name in self.meta:
            return 1 << 16
        if self.label_bytes:
            return self.records_of(name) * (self.label_bytes + PIXELS)
        return self.records_of(name) * (PIXELS + 128) + (1 << 16)  # with labels and file names


LAYOUTS = (
    Layout(
        dataset="cifar10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        archive_digest="md5:c58f30108f718f92721af3b95e74349a",
        train={
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "md5:40351d587109b95175f43aff81a1287e"},
        meta={"batches.meta": "md5:5ff9c542aee3614f3951f8cda6e48888"},
        records=10_000,
        label_key="labels",
        meta_key="label_names",
    ),
    Layout(
        dataset="cifar10",
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        archive_digest="md5:c32a1d4ab5d03f1284b67883e8d87530",
        train={
            "data_batch_1.bin": "sha256:"
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "sha256:"
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "sha256:"
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "sha256:"
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "sha256:"
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        },
        test={
            "test_batch.bin": "sha256:"
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
        },
        meta={"batches.meta.txt": ""},
        records=10_000,
        label_bytes=1,
    ),
    Layout(
        dataset="cifar100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        archive_digest="md5:eb9058c3a382ffc7106e4002c42a8d85",
        train={"train": "md5:16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"},
        meta={"meta": "md5:7973b15100ade9c7d40fb424638fde48"},
        records=50_000,
        test_records=10_000,
        label_key="fine_labels",
        meta_key="fine_label_names",
    ),
    Layout(
        dataset="cifar100",
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        archive_digest="md5:03b5dce01913d631647c71ecec9e9cb8",
        train={"train.bin": ""},
        test={"test.bin": ""},
        meta={"fine_label_names.txt": ""},
        records=50_000,
        test_records=10_000,
        label_bytes=2,  # coarse, fine
    ),
)
