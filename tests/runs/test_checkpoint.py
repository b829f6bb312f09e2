"""Checkpoints: complete or absent; damage costs one interval, and all damaged is an error."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import UserError
from engine.runs import checkpoint
from tests.support.paths import ROOT


def _tensors(value: float) -> dict[str, torch.Tensor]:
    weights = torch.full((2, 3, 3, 3), value).to(memory_format=torch.channels_last)
    return {"weights": weights, "steps": torch.tensor(3)}


def _facts(step: int, **more: Any) -> dict[str, Any]:
    return {"run": "ours", "step": step, **more}


def _ignore(line: str) -> None:
    del line


def _newest(folder: Path, warn: Callable[[str], None] = _ignore) -> checkpoint.Saved | None:
    return checkpoint.newest_valid(folder, warn, "ours")


def test_the_newest_is_read_back_to_the_bit(tmp_path: Path) -> None:
    assert _newest(tmp_path) is None
    for step in (9, 10, 100):
        checkpoint.save(tmp_path, step, _tensors(step / 7), _facts(step, rate=0.1))
    saved = _newest(tmp_path)
    assert saved is not None
    assert saved.facts == _facts(100, rate=0.1)
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
    checkpoint.save(folder, 1, _tensors(1), _facts(1))
    newest = checkpoint.save(folder, 2, _tensors(2), _facts(2)).with_suffix(suffix)
    content = bytearray(newest.read_bytes())
    offset = int(place * len(content))
    if cut:
        content = content[:offset]
    else:
        content[offset] ^= 1
    newest.write_bytes(content)
    warnings: list[str] = []
    saved = _newest(folder, warnings.append)
    assert saved is not None
    if saved.facts != _facts(2):  # a flipped space between JSON tokens changes nothing
        assert saved.facts == _facts(1)
        assert "step-00000002" in warnings[0]
        assert len(list(folder.glob("*.bad"))) == 2


def test_without_any_valid_checkpoint_a_run_is_refused_every_time(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), _facts(1)).write_text("{}")
    for _ in range(2):
        with pytest.raises(UserError, match="--fresh"):
            _newest(tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_an_unreadable_checkpoint_is_not_treated_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, _tensors(step), _facts(step))
    before = sorted(p.name for p in tmp_path.iterdir())

    real = os.open

    def refusing(path: Any, *more: Any, **named: Any) -> int:
        if Path(path).name == f"step-00000002{suffix}":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(UserError, match="cannot be read"):
        _newest(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def _of_format_2(path: Path) -> None:
    """As a newer version could have written it."""
    content = json.loads(path.read_text()) | {"format": 2}
    head = {"format": 2, "step": content["step"]}
    content["sha256"]["head"] = checkpoint._digest(head)
    path.write_text(json.dumps(content))


def _with_format_2(path: Path) -> None:
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))


def _without_head(path: Path) -> None:
    """As this version's first checkpoints were; then its format flipped."""
    content = json.loads(path.read_text())
    del content["sha256"]["head"]
    path.write_text(json.dumps(content | {"format": 3}))


def _of_another_run(path: Path) -> None:
    tensors, step = _tensors(9), json.loads(path.read_text())["step"]
    checkpoint.save(path.parent, step, tensors, {"run": "theirs", "step": step})


def _under_another_name(path: Path) -> None:
    for part in (path, path.with_suffix(".safetensors")):
        part.rename(part.with_name(part.name.replace("02", "03")))


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        (_of_format_2, "foreign"),
        (_with_format_2, "bad"),
        (_without_head, "bad"),
        (_of_another_run, "foreign"),
        (_under_another_name, "bad"),
    ],
)
def test_a_checkpoint_that_does_not_fit_costs_one_interval(
    tmp_path: Path, change: Callable[[Path], None], suffix: str
) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), _facts(1))
    change(checkpoint.save(tmp_path, 2, _tensors(2), _facts(2)))
    warnings: list[str] = []
    saved = _newest(tmp_path, warnings.append)
    assert saved is not None and saved.facts == _facts(1)
    assert len(warnings) == 1 and f"renamed to *.{suffix}" in warnings[0]
    checkpoint.save(tmp_path, 3, _tensors(3), _facts(3))
    checkpoint.prune(tmp_path, keep=1)  # the one that was set aside does not count
    saved = _newest(tmp_path)
    assert saved is not None and saved.facts == _facts(3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [(_of_format_2, "format 2; this version reads 1"), (_of_another_run, "of another run")],
)
def test_without_one_that_fits_a_run_is_refused_and_nothing_is_renamed(
    tmp_path: Path, change: Callable[[Path], None], problem: str
) -> None:
    path = checkpoint.save(tmp_path, 1, _tensors(1), _facts(1))
    change(path)
    with pytest.raises(UserError, match=problem) as error:
        _newest(tmp_path)
    assert path.exists() and "--fresh" not in str(error.value)


def test_a_checkpoint_without_its_tensors_is_renamed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), _facts(1))
    checkpoint.save(tmp_path, 2, _tensors(2), _facts(2)).with_suffix(".safetensors").unlink()
    saved = _newest(tmp_path)
    assert saved is not None
    assert saved.facts == _facts(1)


def test_tensors_without_their_json_are_ignored(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1), _facts(1))
    checkpoint.save(tmp_path, 2, _tensors(2), _facts(2)).unlink()
    saved = _newest(tmp_path)
    assert saved is not None
    assert saved.facts == _facts(1)


def test_old_checkpoints_are_pruned(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, _tensors(step), _facts(step))
        (tmp_path / f"step-{step:08d}.safetensors.partial").write_bytes(b"killed while writing")
        checkpoint.prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-{step:08d}.{kind}" for step in (4, 5) for kind in ("json", "safetensors")
    ]


def test_a_folder_that_cannot_be_listed_loses_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, _tensors(step), _facts(step))
    before = sorted(tmp_path.iterdir())

    def refusing(folder: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with monkeypatch.context() as patch:
        for name in ("listdir", "scandir"):
            patch.setattr(os, name, refusing)
        with pytest.raises(OSError, match="Permission denied"):
            checkpoint.prune(tmp_path, keep=1)
        with pytest.raises(OSError, match="Permission denied"):
            _newest(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert _newest(tmp_path) is not None


def test_a_checkpoint_that_is_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, _tensors(1), _facts(1))
    evil = tmp_path / "evil"
    payload = f"cos\nsystem\n(S'touch {evil}'\ntR.".encode()
    path.with_suffix(".safetensors").write_bytes(payload)
    content = json.loads(path.read_text())
    content["sha256"]["tensors"] = checkpoint._sha256(payload)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="damaged"):
        _newest(tmp_path)
    assert not evil.exists()


def test_a_checkpoint_of_the_version_before_is_read(tmp_path: Path) -> None:
    for path in (ROOT / "tests" / "golden" / "checkpoint_1").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    saved = _newest(tmp_path, pytest.fail)
    assert saved is not None and saved.facts["counters"]["step"] == 3
    expected = torch.arange(54.0).reshape(2, 3, 3, 3) / 7
    assert torch.equal(saved.tensors["network.weights"], expected)
