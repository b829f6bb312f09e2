"""Checkpoints: complete or absent; damage costs one interval, and all damaged is an error."""

from __future__ import annotations

import errno
import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import UserError
from engine.runs import checkpoint


def _tensors(value: float) -> dict[str, torch.Tensor]:
    weights = torch.full((2, 3, 3, 3), value).to(memory_format=torch.channels_last)
    return {"weights": weights, "steps": torch.tensor(3)}


def _ignore(line: str) -> None:
    del line


def test_the_newest_is_read_back_to_the_bit(tmp_path: Path) -> None:
    assert checkpoint.newest_valid(tmp_path, _ignore) is None
    for step in (9, 10, 100):
        checkpoint.save(tmp_path, step, _tensors(step / 7), {"step": step, "rate": 0.1})
    saved = checkpoint.newest_valid(tmp_path, _ignore)
    assert saved is not None
    assert saved.facts == {"step": 100, "rate": 0.1}
    assert torch.equal(saved.tensors["weights"], _tensors(100 / 7)["weights"])
    assert checkpoint.newest_step(tmp_path) == 100


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 0.999), cut=st.booleans())
def test_damage_costs_one_interval_and_is_reported(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, place: float, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoint.save(folder, 1, _tensors(1), {"step": 1})
    newest = checkpoint.save(folder, 2, _tensors(2), {"step": 2}).with_suffix(suffix)
    content = bytearray(newest.read_bytes())
    offset = int(place * len(content))
    if cut:
        content = content[:offset]
    else:
        content[offset] ^= 1
    newest.write_bytes(content)
    warnings: list[str] = []
    saved = checkpoint.newest_valid(folder, warnings.append)
    assert saved is not None
    if saved.facts != {"step": 2}:  # a flipped space between JSON tokens changes nothing
        assert saved.facts == {"step": 1}
        assert "step-00000002" in warnings[0]
        assert len(list(folder.glob("*.bad"))) == 2


def test_without_any_valid_checkpoint_a_run_is_refused_every_time(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), {"step": 1}).write_text("{}")
    for _ in range(2):
        with pytest.raises(UserError, match="--fresh"):
            checkpoint.newest_valid(tmp_path, _ignore)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_an_unreadable_checkpoint_is_not_treated_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, _tensors(step), {"step": step})
    before = sorted(p.name for p in tmp_path.iterdir())

    def refusing(path: Path, *more: object, real: Any, **named: object) -> object:
        if path.name == f"step-00000002{suffix}":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *more, **named)

    for name in ("read_text", "read_bytes"):
        patched = functools.partialmethod(refusing, real=getattr(Path, name))
        monkeypatch.setattr(Path, name, patched)
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.newest_valid(tmp_path, _ignore)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, _tensors(1), {"step": 1})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(UserError, match="format 2; this version reads 1"):
        checkpoint.newest_valid(tmp_path, _ignore)
    assert path.exists()


def test_a_checkpoint_without_its_tensors_is_renamed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), {"step": 1})
    checkpoint.save(tmp_path, 2, _tensors(2), {"step": 2}).with_suffix(".safetensors").unlink()
    saved = checkpoint.newest_valid(tmp_path, _ignore)
    assert saved is not None
    assert saved.facts == {"step": 1}


def test_tensors_without_their_json_are_ignored(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), {"step": 1})
    checkpoint.save(tmp_path, 2, _tensors(2), {"step": 2}).unlink()
    saved = checkpoint.newest_valid(tmp_path, _ignore)
    assert saved is not None
    assert saved.facts == {"step": 1}


def test_old_checkpoints_are_pruned(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, _tensors(step), {"step": step})
        (tmp_path / f"step-{step:08d}.safetensors.partial").write_bytes(b"killed while writing")
        checkpoint.prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-{step:08d}.{kind}" for step in (4, 5) for kind in ("json", "safetensors")
    ]


def test_a_checkpoint_that_is_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, _tensors(1), {"step": 1})
    evil = tmp_path / "evil"
    payload = f"cos\nsystem\n(S'touch {evil}'\ntR.".encode()
    path.with_suffix(".safetensors").write_bytes(payload)
    content = json.loads(path.read_text())
    content["sha256"]["tensors"] = checkpoint._sha256(payload)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="damaged"):
        checkpoint.newest_valid(tmp_path, _ignore)
    assert not evil.exists()
