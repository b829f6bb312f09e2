"""Checkpoints as safetensors and JSON, so that loading cannot run code.

A checkpoint is two files, `step-00001170.safetensors` and, written after it, the `.json` with its
digests. Tensors without a matching JSON are ignored.
"""

from __future__ import annotations

import fnmatch
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


class Foreign(Exception):
    """A whole checkpoint, but not one that this run can continue from."""


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> Path:
    """Write the state after `step` steps, durably; returns the path of its JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.json"
    content = pack(tensors)
    atomic.write_bytes(path.with_suffix(".safetensors"), content)
    # Digests of all that is read: a flipped digit in a step count must not pass.
    head = {"format": FORMAT, "step": step}
    digests = {"head": _digest(head), "facts": _digest(facts), "tensors": _sha256(content)}
    atomic.write_json(path, head | {"sha256": digests, "facts": facts})
    return path


def newest_valid(folder: Path, warn: Callable[[str], None], run: str) -> Saved | None:
    """The newest whole checkpoint of the run with fingerprint `run`; None where there is no file.

    A kill can leave a temporary file but never a half-written checkpoint; disks and people can,
    so a file that fails its digest is renamed to `*.bad` and skipped. So is one of another run or
    a newer version, to `*.foreign`, if there is another one. If none is left the run is refused: a
    silent fresh start would look like a continued run. A file that cannot be read may be intact:
    it stays, and the user is asked to correct that.
    """
    paths = _of_kind(folder, "json")[::-1]
    foreign: dict[Path, str] = {}
    for path in paths:
        try:
            saved = _read(path, run)
        except Foreign as error:
            foreign[path] = str(error)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise UserError(
                    f"{error.filename or path}: cannot be read ({error.strerror}); correct that, "
                    "or move this checkpoint away to continue from the one before"
                ) from None
            warn(f"warning: {path}: checkpoint without tensors, renamed to *.bad")
            _rename(path, ".bad")
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            warn(f"warning: {path}: damaged checkpoint, renamed to *.bad ({error})")
            _rename(path, ".bad")
        else:
            for other, problem in foreign.items():  # else they would count among the newest
                warn(f"warning: {other}: {problem}; renamed to *.foreign")
                _rename(other, ".foreign")
            return saved
    if foreign:
        raise UserError(
            *(f"{path}: {problem}" for path, problem in foreign.items()),
            f"{folder}: no checkpoint of this run; move these away, or choose another run.name",
        )
    damaged = _of_kind(folder, "bad")
    if paths or damaged:
        raise UserError(
            f"{folder}: every checkpoint is damaged ({len(damaged)} files renamed to *.bad); "
            "start over with: --fresh"
        )
    return None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and tensors without a JSON."""
    facts = _of_kind(folder, "json")
    for path in facts[:-keep]:
        path.unlink()  # first: tensors without a JSON are ignored
    kept = {path.stem for path in facts[-keep:]}
    for path in _of_kind(folder, "safetensors"):
        if path.stem not in kept:
            path.unlink()
    for path in _of_kind(folder, "partial"):  # of a process killed while writing
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


def _read(path: Path, run: str) -> Saved:
    content = json.loads(files.read_text(path))
    facts, digests = content["facts"], content["sha256"]
    head = {key: content[key] for key in ("format", "step")}
    if path.stem != f"step-{head['step']:08d}":
        raise ValueError("its name is that of another step")
    if "head" in digests:
        if _digest(head) != digests["head"]:
            raise ValueError("its format or step does not match its digest")
        if head["format"] != FORMAT:
            raise Foreign(f"a checkpoint of format {head['format']!r}; this version reads {FORMAT}")
    elif head["format"] != FORMAT:  # others have always had that digest
        raise ValueError(f"its format is {head['format']!r}")
    if _digest(facts) != digests["facts"]:
        raise ValueError("its facts do not match their digest")
    if facts["run"] != run:
        raise Foreign("a checkpoint of another run")
    raw = files.read_bytes(path.with_suffix(".safetensors"), files.LARGEST_TENSORS)
    if _sha256(raw) != digests["tensors"]:
        raise ValueError("its tensors do not match their digest")
    return Saved(safetensors.torch.load(raw), facts)


def _of_kind(folder: Path, suffix: str) -> list[Path]:
    """The files of checkpoints with this suffix, the newest last."""
    pattern = f"step-*.{suffix}"
    return [path for path in files.listed(folder) if fnmatch.fnmatchcase(path.name, pattern)]


def _rename(path: Path, suffix: str) -> None:
    for part in (path, path.with_suffix(".safetensors")):
        if part.exists():
            part.rename(part.with_name(part.name + suffix))


def _digest(content: dict[str, Any]) -> str:
    return _sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
