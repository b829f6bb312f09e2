"""Training from weights: they are loaded to the bit, and what does not fit is refused by name."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from engine import train
from engine.config.schema import Model
from engine.errors import UserError, run_command
from engine.model import ResNet, resolve
from engine.runs import initial_weights
from engine.runs.directory import RunFolder
from engine.runs.state import State
from tests.support.data import CLASSES, Files
from tests.support.runs import exact_flags

NET = Model(blocks=(1, 1), widths=(8,), se="stem", se_reduction=2)
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def finished(files: Files, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of the network that `exact_flags` trains."""
    root = tmp_path_factory.mktemp("finished")
    assert run_command(train.main, exact_flags(files, root, 1, 32)) == 0
    return RunFolder(root / "run")


@pytest.fixture
def tensors() -> Tensors:
    torch.manual_seed(3)
    return ResNet(resolve(NET), len(CLASSES)).state_dict()


def reading(path: Path, classes: int = len(CLASSES), classifier: str = "loaded") -> Tensors:
    model = Model(
        blocks=(1, 1), widths=(8,), se="stem", se_reduction=2,
        weights=str(path), weights_classifier=classifier,
    )  # fmt: skip
    weights = initial_weights.read(model, classes, 32)
    assert weights is not None
    return weights.tensors


def started(
    files: Files, root: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> Tensors:
    """The state of the network before the first step of a run."""
    states: list[Tensors] = []
    real = State.__init__

    def recording(state: State, *args: Any, **more: Any) -> None:
        real(state, *args, **more)
        states.append({name: t.clone() for name, t in state.network.state_dict().items()})

    flags = [*exact_flags(files, root, 1, 32), *more]
    flags += ["--model.weights", str(weights)] if weights != Path() else []
    with monkeypatch.context() as patch:
        patch.setattr(State, "__init__", recording)
        assert run_command(train.main, flags) == 0
    return states[0]


def test_a_run_starts_from_the_weights_and_statistics_of_another(
    files: Files, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = started(files, tmp_path / "a", finished.path, monkeypatch)
    loaded = load_file(finished.weights)
    assert state.keys() == loaded.keys()
    assert all(torch.equal(state[name], loaded[name]) for name in loaded)
    record = RunFolder(tmp_path / "a" / "run").read_record()
    of_finished = finished.read_record()
    assert record is not None and of_finished is not None
    digest = of_finished["weights_sha256"]
    assert record["initial_weights"] == {"path": str(finished.weights), "sha256": digest}
    assert "initial_weights" not in of_finished
    assert record["fingerprint"] != of_finished["fingerprint"]


def test_the_same_weights_from_another_place_are_the_same_run(
    files: Files, finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(finished.weights.read_bytes())
    flags = exact_flags(files, tmp_path, 1, 32)
    assert run_command(train.main, [*flags, "--model.weights", str(finished.path)]) == 0
    assert "starts from" in capsys.readouterr().err
    assert run_command(train.main, [*flags, "--model.weights", str(copy)]) == 0
    assert "already finished" in capsys.readouterr().err
    changed = load_file(copy)
    changed["stem.0.weight"][0, 0, 0, 0] += 1
    save_file(changed, copy)
    assert run_command(train.main, [*flags, "--model.weights", str(copy)]) == 2
    assert "differs in the bytes of model.weights, model.weights (" in capsys.readouterr().err
    assert run_command(train.main, flags) == 2
    assert "there, '' here)" in capsys.readouterr().err


def test_a_new_classifier_is_the_one_that_would_be_drawn_without_weights(
    files: Files, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = started(files, tmp_path / "drawn", Path(), monkeypatch)
    loaded = load_file(finished.weights)
    other = {name: t for name, t in loaded.items() if not name.startswith("classifier.")}
    other |= {"classifier.weight": torch.zeros(10, 16), "classifier.bias": torch.zeros(10)}
    save_file(other, path := tmp_path / "ten_classes.safetensors")
    new = ("--model.weights_classifier", "new")
    state = started(files, tmp_path / "new", path, monkeypatch, *new)
    for name, tensor in state.items():
        expected = drawn if name.startswith("classifier.") else loaded
        assert torch.equal(tensor, expected[name]), name


def _without(tensors: Tensors, name: str) -> Tensors:
    return {each: tensor for each, tensor in tensors.items() if each != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: _without(t, "stem.0.weight"), "lacks stem.0.weight"),
        (
            lambda t: t | {"head.bias": torch.zeros(2)},
            "holds head.bias, which the network does not have",
        ),
        (
            lambda t: t | {"stem.0.weight": torch.zeros(4, 3, 3, 3)},
            "other types or shapes: stem.0.weight F32 4x3x3x3 (expected F32 8x3x3x3)",
        ),
        (
            lambda t: t | {"stem.1.bias": torch.zeros(8).half()},
            "stem.1.bias F16 8 (expected F32 8)",
        ),
        (
            lambda t: t | {"classifier.bias": torch.zeros(9)},
            "classifier.bias F32 9 (expected F32 4); model.weights_classifier new draws the",
        ),
        (lambda t: t | {"stem.1.bias": torch.full((8,), torch.inf)}, "not finite: stem.1.bias"),
    ],
    ids=["missing", "unexpected", "shape", "type", "classifier", "not finite"],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    tensors: Tensors, tmp_path: Path, change: Callable[[Tensors], Tensors], words: str
) -> None:
    save_file(change(tensors), path := tmp_path / "w.safetensors")
    with pytest.raises(UserError) as error:
        reading(path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"model.weights: {path}: ")


def test_a_new_classifier_excuses_no_other_difference(tensors: Tensors, tmp_path: Path) -> None:
    save_file(_without(tensors, "stem.0.weight"), path := tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"lacks stem\.0\.weight$"):
        reading(path, classes=7, classifier="new")
    save_file(tensors, path)
    with pytest.raises(UserError, match="weights_classifier new draws"):
        reading(path, classes=7)
    assert not any("classifier" in name for name in reading(path, 7, "new"))


def test_files_that_are_not_safetensors_are_refused_without_reading_them_whole(
    tensors: Tensors, tmp_path: Path
) -> None:
    whole = save(tensors)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    header["stem.0.weight"]["data_offsets"] = [0, 4]
    lying = json.dumps(header).encode()
    contents = {
        "empty": (b"", "not a safetensors file"),
        "pickle": (b"cos\nsystem\n(S'true'\ntR.", "not a safetensors file"),
        "list": ((2).to_bytes(8, "little") + b"[]", "not a safetensors file"),
        "cut": (whole[:-1], "damaged"),
        "lying": (len(lying).to_bytes(8, "little") + lying + whole[8 + length :], "damaged"),
        "long": (whole + bytes(100), "bytes, expected at most"),
    }
    for name, (content, words) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=words):
            reading(path)
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "absent", "no such file; expected the folder of a finished run"),
        (tmp_path, "expected the folder of a finished run"),
        (tmp_path / "empty" / "below", "a part of this path is a file"),
    ):
        with pytest.raises(UserError, match=words):
            reading(path)


def test_only_finished_and_undamaged_runs_are_started_from(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = exact_flags(files, tmp_path, 1, 32)
    with monkeypatch.context() as patch:
        patch.setattr(State, "advance", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr(State, "check", lambda state: None)
        assert run_command(train.main, flags) == 75
    with pytest.raises(UserError, match="this run is interrupted, not finished"):
        reading(tmp_path / "run")
    assert run_command(train.main, [*flags, "--fresh"]) == 0
    weights = tmp_path / "run" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="damaged"):
        reading(tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model.weights_classifier", "new"], "nothing is loaded; model.weights is empty"),
        (["--model.weights", "w", "--model.init", "he_normal"], "no weight is drawn"),
        (["--model.weights", "w.safetensors"], "w.safetensors: no such file"),
    ],
)
def test_mistakes_are_reported_before_anything_is_written(
    files: Files, tmp_path: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*exact_flags(files, tmp_path / "runs", 1, 32), *more]
    assert run_command(train.main, flags) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_dry_runs_and_descriptions_name_the_weights(
    files: Files, finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*exact_flags(files, tmp_path / "runs", 1, 32), "--model.weights", str(finished.path)]
    assert run_command(train.main, [*flags, "--dry-run"]) == 0
    assert f"starts from {finished.weights}" in capsys.readouterr().out
    assert run_command(train.main, [*flags, "--describe"]) == 0
    described = json.loads(capsys.readouterr().out)["initial_weights"]
    assert described["path"] == str(finished.weights) and len(described["sha256"]) == 64
    assert run_command(train.main, [*flags, "--describe", "--model.pool", "2"]) == 2
    assert "other types or shapes" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
