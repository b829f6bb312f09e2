"""The weights that a run starts from (`model.weights`): read once, checked against the network.

The file must be safetensors, whose reading cannot run code. Its header is compared with the
network before anything else is read, so no file takes more memory than the network needs.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import nn

from engine import files
from engine.config.schema import Model
from engine.errors import UserError
from engine.model import ResNet, Variant, resolve
from engine.runs.checkpoint import Tensors
from engine.runs.directory import RunFolder

Layout = Mapping[str, tuple[str, tuple[int, ...]]]  # type and shape by the tensor's name

CLASSIFIER = "classifier."
TYPES = {
    torch.float32: "F32",
    torch.int64: "I64",
}  # of a network's state, as safetensors names them
BYTES = {"F32": 4, "I64": 8}
LARGEST_HEADER = 2**20
LARGEST_CLASSIFIER = 2**28  # bytes of one that is not loaded
NEW = "model.weights_classifier new draws the classifier and loads all others"


@dataclass(frozen=True)
class InitialWeights:
    """Tensors that fit the network, and the file that they are from."""

    path: Path
    sha256: str  # of the file
    classifier: str  # loaded or new
    tensors: Tensors  # those to load

    def load_into(self, network: nn.Module) -> None:
        """Copy them into a network; a new classifier stays as it was drawn."""
        network.load_state_dict(network.state_dict() | self.tensors)

    def origin(self) -> dict[str, str]:
        """As record.json has it."""
        return {"path": str(self.path), "sha256": self.sha256}

    def text(self) -> str:
        """One line for a person."""
        new = "; the classifier is new" if self.classifier == "new" else ""
        count = f"{len(self.tensors)} tensors"
        return f"starts from {self.path} ({count}, SHA-256 {self.sha256[:8]}...){new}"


def read(model: Model, classes: int, side: int) -> InitialWeights | None:
    """The weights that `model` starts from, or None; whatever does not fit is a `UserError`."""
    if not model.weights:
        return None
    path, recorded = _file_of(Path(model.weights))
    expected = layout_of(resolve(model), classes, side)
    new = model.weights_classifier == "new"
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        layout, header = _header(file, size, path)
        if wrong := list(misfits(layout, expected, new_classifier=new)):
            raise UserError(*(f"model.weights: {path}: {problem}" for problem in wrong))
        limit = len(header) + _bytes(expected) + (LARGEST_CLASSIFIER if new else 0)
        content = header + file.read(limit - len(header) + 1)
    if len(content) > limit:
        raise UserError(f"model.weights: {path}: {size:,} bytes, expected at most {limit:,}")
    digest = hashlib.sha256(content).hexdigest()
    if recorded not in (None, digest):
        raise UserError(f"model.weights: {path}: damaged (its SHA-256 is not the record's)")
    kept = {
        name: tensor
        for name, tensor in _tensors(content, layout, path).items()
        if not (new and name.startswith(CLASSIFIER))
    }
    return InitialWeights(path, digest, model.weights_classifier, kept)


@functools.lru_cache(maxsize=64)
def layout_of(variant: Variant, classes: int, side: int) -> Layout:
    """The weights and batch-norm statistics of a network, which is not built for it."""
    with torch.device("meta"):
        state = ResNet(variant, classes, side=side).state_dict()
    return {name: (TYPES[value.dtype], tuple(value.shape)) for name, value in state.items()}


def misfits(layout: Layout, expected: Layout, *, new_classifier: bool) -> Iterator[str]:
    """Everything in which weights differ from those that a network expects."""

    def counts(name: str) -> bool:
        return not (new_classifier and name.startswith(CLASSIFIER))

    missing = [name for name in expected if name not in layout and counts(name)]
    unexpected = [name for name in layout if name not in expected and counts(name)]
    both = [name for name in expected if name in layout and counts(name)]
    wrong = [name for name in both if layout[name] != expected[name]]
    differing = [*missing, *unexpected, *wrong]
    if differing and all(name.startswith(CLASSIFIER) for name in differing):
        hint = f"; {NEW}"
    else:
        hint = ""
    if missing:
        yield f"lacks {', '.join(missing)}{hint}"
    if unexpected:
        yield f"holds {', '.join(unexpected)}, which the network does not have{hint}"
    if wrong:
        texts = [f"{n} {_text(layout[n])} (expected {_text(expected[n])})" for n in wrong]
        yield f"other types or shapes: {', '.join(texts)}{hint}"


def _file_of(path: Path) -> tuple[Path, str | None]:
    """The file of weights that `path` names, and its digest where a record has it."""
    if not path.is_dir():
        return path, None
    folder = RunFolder(path)
    try:
        digest = folder.finished_record().get("weights_sha256")
    except UserError as error:
        raise UserError(
            *(f"model.weights: {problem}" for problem in error.problems),
            "model.weights: expected the folder of a finished run, or a .safetensors file",
        ) from None
    return folder.weights, str(digest)


def _opened(path: Path) -> BinaryIO:
    """A regular file, opened; a pipe or a device is refused without waiting for it."""
    try:
        return files.opened(path)
    except FileNotFoundError:
        raise UserError(
            f"model.weights: {path}: no such file; expected the folder of a finished run, or a "
            ".safetensors file"
        ) from None
    except UserError as error:
        raise UserError(f"model.weights: {error}") from None


def _header(file: BinaryIO, size: int, path: Path) -> tuple[Layout, bytes]:
    """What the file says that it holds, and the bytes that say so."""
    try:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, LARGEST_HEADER):
            raise ValueError("its first bytes are not the length of a header")
        text = file.read(length)
        entries: dict[str, Any] = json.loads(text)
        entries.pop("__metadata__", None)
        layout = {
            name: (str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"model.weights: {path}: not a safetensors file") from None
    return layout, start + text


def _tensors(content: bytes, layout: Layout, path: Path) -> Tensors:
    try:
        tensors: Tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise UserError(f"model.weights: {path}: damaged ({error})") from None
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != {
        name: shape for name, (_, shape) in layout.items()
    }:
        raise UserError(f"model.weights: {path}: damaged (its header contradicts itself)")
    wrong = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if wrong:
        raise UserError(f"model.weights: {path}: not finite: {', '.join(wrong)}")
    return tensors


def _bytes(layout: Layout) -> int:
    return sum(BYTES[kind] * math.prod(shape) for kind, shape in layout.values())


def _text(part: tuple[str, tuple[int, ...]]) -> str:
    kind, shape = part
    return f"{kind} {'x'.join(map(str, shape)) or 'scalar'}"
