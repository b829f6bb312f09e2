"""`X.beton.json`: what a `.beton` file contains, and the digest that proves it is undamaged.

FFCV's own format has neither magic string nor checksum, so damage would not be detected.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import category

from engine import atomic, files, seal
from engine.errors import UserError

FORMAT = 1
OWN_DIGEST = "sidecar_sha256"  # of everything else in it; optional, for files written by hand
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # what a terminal obeys, and what is no Unicode
WRITTEN = {  # by which flags of writers/cifar.py
    "cifar10": "",
    "cifar100": " --data.name cifar100",
    "synthetic": " --data.source synthetic",
}


@dataclass(frozen=True)
class Sidecar:
    """What is known of a `.beton` file without opening it."""

    dataset: str  # cifar10, cifar100, synthetic or a name of the user's
    split: str  # train, test or a name of the user's
    samples: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]  # unlabelled samples (label -1) are in none
    mean: tuple[float, ...]  # per channel, on a scale of 0 to 1
    std: tuple[float, ...]
    image_shape: tuple[int, ...]  # H W C
    bytes: int
    sha256: str
    sources: dict[str, str]  # file name: its digest, as md5:... or sha256:...
    versions: dict[str, str]
    format: int = FORMAT


def path_of(beton: Path) -> Path:
    """The path of the sidecar of a `.beton` file."""
    return beton.with_name(beton.name + ".json")


def write(beton: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of `beton`, durably."""
    atomic.write_text(path_of(beton), text_of(sidecar))


def text_of(sidecar: Sidecar) -> str:
    """The text of a sidecar: readable JSON with a digest of itself."""
    content = seal.sealed(dataclasses.asdict(sidecar), OWN_DIGEST)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read(beton: Path) -> Sidecar | None:
    """The sidecar of `beton`, or None if there is none; a broken one is an error."""
    path = path_of(beton)
    try:
        content: Any = json.loads(files.read_text(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {remedy(beton)}") from None
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"not a sidecar of a .beton file ({error})"
        raise UserError(f"{path}: {what}; {remedy(beton)}") from None


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes, in hex."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def remedy(beton: Path, *, again: bool = True) -> str:
    """How to write a file, as far as its name says what it holds."""
    words, force = (" again", " --force") if again else ("", "")
    dataset, _, split = beton.name.removesuffix(".beton").rpartition("_")
    if dataset not in WRITTEN or split not in ("train", "test"):
        return f"write it{words} from its source, as docs/own_data.md says"
    flags = WRITTEN[dataset] + f" --data.folder {shlex.quote(str(beton.parent))}"
    return f"write it{words} with: python writers/cifar.py{flags}{force}"


def _parse(content: Any) -> Sidecar:
    if not isinstance(content, dict):
        raise TypeError("expected an object")
    if content.get("format") != FORMAT:
        raise ValueError(f"format {content.get('format')!r}, this version reads {FORMAT}")
    missing = {field.name for field in dataclasses.fields(Sidecar)} - content.keys()
    if missing:
        raise KeyError(f"without {', '.join(sorted(missing))}")
    if seal.is_broken(content, OWN_DIGEST):
        raise ValueError("its own digest does not match; it was changed or damaged")
    for name, valid in _CHECKS.items():
        if not valid(content[name]):
            raise ValueError(f"{name} is {json.dumps(content[name])[:60]}")
    if len(content["class_counts"]) != len(content["classes"]):
        raise ValueError("expected as many class_counts as classes")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Sidecar):
        value = content[field.name]
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return Sidecar(**values)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _share(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1  # nan is not


def _text(value: Any) -> bool:
    return isinstance(value, str) and all(category(each) not in CONTROL for each in value)


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, (*value, *value.values())))


def _list_of(valid: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and all(map(valid, value)) and length in (None, len(value))
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "dataset": _text,
    "split": _text,
    "samples": _whole,
    "classes": _list_of(_text),
    "class_counts": _list_of(_whole),
    "mean": _list_of(_share, 3),
    "std": _list_of(_share, 3),
    "image_shape": _list_of(_whole, 3),
    "bytes": _whole,
    "sha256": _text,
    "sources": _texts,
    "versions": _texts,
}
