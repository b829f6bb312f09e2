"""`X.beton.json`: what a `.beton` file holds, and the digest that proves it is whole.

FFCV's own format has neither magic string nor checksum, so damage would go unseen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import atomic
from engine.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class Sidecar:
    """Everything that is known of a `.beton` file without opening it."""

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
    """Where the sidecar of a `.beton` file lies."""
    return beton.with_name(beton.name + ".json")


def write(beton: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of `beton`, durably."""
    atomic.write_json(path_of(beton), dataclasses.asdict(sidecar))


def read(beton: Path) -> Sidecar | None:
    """The sidecar of `beton`, or None where there is none; a broken one is an error."""
    path = path_of(beton)
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); {_again()}") from None
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a sidecar of a .beton file ({error}); {_again()}") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if path.stat().st_size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                digest.update(view)
    return digest.hexdigest()


def _again() -> str:
    return "write it again with: python writers/cifar.py --force"


def _parse(content: Any) -> Sidecar:
    if not isinstance(content, dict):
        raise TypeError("expected an object")
    if content.get("format") != FORMAT:
        raise ValueError(f"format {content.get('format')!r}, this version reads {FORMAT}")
    missing = {field.name for field in dataclasses.fields(Sidecar)} - content.keys()
    if missing:
        raise KeyError(f"without {', '.join(sorted(missing))}")
    whole = {"samples", "bytes", "format"}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Sidecar):
        value = content[field.name]
        if field.name in whole:
            _expect(
                isinstance(value, int) and not isinstance(value, bool) and value >= 0, field.name
            )
        elif field.name in ("dataset", "split", "sha256"):
            _expect(isinstance(value, str), field.name)
        elif field.name in ("sources", "versions"):
            _expect(isinstance(value, dict), field.name)
        else:
            kind = str if field.name == "classes" else (int, float)
            _expect(isinstance(value, list) and all(isinstance(v, kind) for v in value), field.name)
            value = tuple(value)
        values[field.name] = value
    return Sidecar(**values)


def _expect(holds: bool, name: str) -> None:
    if not holds:
        raise TypeError(f"{name} has another type than expected")
