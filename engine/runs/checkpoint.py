"""Checkpoints as safetensors and JSON, so that loading cannot run code.

A checkpoint is two files, `step-00001170.safetensors` and, written after it, the `.json` with its
digest. Tensors without a matching JSON are ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor

from engine import atomic, files
from engine.errors import UserError

FORMAT = 1
Tensors = dict[str, Tensor]


class Saved(NamedTuple):
    """A checkpoint as read."""

    tensors: Tensors
    facts: dict[str, Any]


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> Path:
    """Write the state after `step` steps, durably; returns the path of its JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.json"
    content = pack(tensors)
    atomic.write_bytes(path.with_suffix(".safetensors"), content)
    # The digest of the facts as well: a flipped digit in a step count must not pass.
    body = json.dumps(facts, sort_keys=True, allow_nan=False)
    digests = {"tensors": _sha256(content), "facts": _sha256(body.encode())}
    atomic.write_json(path, {"format": FORMAT, "step": step, "sha256": digests, "facts": facts})
    return path


def newest_valid(folder: Path, warn: Callable[[str], None]) -> Saved | None:
    """The newest undamaged checkpoint, or None where there is none at all.

    A kill can leave a temporary file but never a half-written checkpoint; disks and people can,
    so a file that fails its digest is renamed to `*.bad` and skipped. If all are damaged the run
    is refused: a silent fresh start would look like a continued run. A file that cannot be read
    may be intact: it stays, and the user is asked to correct that.
    """
    paths = sorted(folder.glob("step-*.json"), reverse=True)
    for path in paths:
        try:
            return _read(path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise UserError(
                    f"{error.filename or path}: cannot be read ({error.strerror}); correct that, "
                    "or move this checkpoint away to continue from the one before"
                ) from None
            warn(f"warning: {path}: checkpoint without tensors, renamed to *.bad")
            _set_aside(path)
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            warn(f"warning: {path}: damaged checkpoint, renamed to *.bad ({error})")
            _set_aside(path)
    damaged = sorted(folder.glob("step-*.bad"))
    if paths or damaged:
        raise UserError(
            f"{folder}: every checkpoint is damaged ({len(damaged)} files renamed to *.bad); "
            "start over with: --fresh"
        )
    return None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and tensors without a JSON."""
    facts = sorted(folder.glob("step-*.json"), reverse=True)
    for path in facts[keep:]:
        path.unlink()  # first: tensors without a JSON are ignored
    kept = {path.stem for path in facts[:keep]}
    for path in folder.glob("step-*.safetensors"):
        if path.stem not in kept:
            path.unlink()
    for path in folder.glob("step-*.partial"):  # of a process killed while writing
        path.unlink()


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, for messages; the file is not read."""
    steps = [int(path.stem.removeprefix("step-")) for path in folder.glob("step-????????.json")]
    return max(steps, default=None)


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    plain = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    return safetensors.torch.save(plain)


def load_weights(path: Path, digest: str) -> Tensors:
    """The tensors of a finished run's weights; anything wrong with the file is a `UserError`."""
    try:
        content = files.read_bytes(path, files.LARGEST_TENSORS)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    if _sha256(content) != digest:
        raise UserError(f"{path}: damaged, or of another run (its SHA-256 is not the record's)")
    return safetensors.torch.load(content)


def _read(path: Path) -> Saved:
    content = json.loads(files.read_text(path))
    if content["format"] != FORMAT:
        raise UserError(
            f"{path}: a checkpoint of format {content['format']!r}; this version reads {FORMAT}"
        )
    body = json.dumps(content["facts"], sort_keys=True)
    if _sha256(body.encode()) != content["sha256"]["facts"]:
        raise ValueError("its facts do not match their digest")
    raw = files.read_bytes(path.with_suffix(".safetensors"), files.LARGEST_TENSORS)
    if _sha256(raw) != content["sha256"]["tensors"]:
        raise ValueError("its tensors do not match their digest")
    return Saved(safetensors.torch.load(raw), content["facts"])


def _set_aside(path: Path) -> None:
    for part in (path, path.with_suffix(".safetensors")):
        if part.exists():
            part.rename(part.with_name(part.name + ".bad"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
