"""A run from its command to its record: what it writes, refuses and keeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import train
from engine.data.beton import open_beton
from engine.runs.directory import RunFolder
from engine.runs.state import State
from engine.step import device
from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files, coloured, write_beton
from tests.support.runs import Command, record_of, run_of

STEPS = -(-TRAIN_IMAGES // 16)


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refused(command: Command, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command, which must end as for a user's error: what it prints on stderr."""

    def call(*flags: str | Path) -> str:
        assert command(*map(str, flags)) == 2
        return capsys.readouterr().err

    return call


def test_a_run_writes_its_record_log_and_weights(
    command: Command, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    run, record = run_of(tmp_path), record_of(tmp_path)
    assert run.path.name.startswith("run-s0-")
    assert run.path.name.endswith(record["fingerprint"][:8])
    wanted = (
        "variant params flops config seed data_digests versions device precision epochs seconds "
        "images_per_second test_accuracy best_test_accuracy test_loss train_loss status"
    ).split()
    assert not set(wanted) - record.keys()
    assert record["status"] == "finished"
    assert record["epochs"] == 2
    assert record["steps"] == 2 * STEPS
    assert record["train_images"] == TRAIN_IMAGES
    assert record["data_digests"]["train"] == open_beton(files.train).sha256
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[-1]["test_accuracy"] == record["test_accuracy"]
    assert record["best_test_accuracy"] == max(line["test_accuracy"] for line in lines)
    out, err = capsys.readouterr()
    assert f"{100 * record['test_accuracy']:.2f} %" in out
    assert str(run.path) in out
    assert "epoch 2/2" in err
    assert "\x1b" not in out + err


def test_a_finished_run_is_not_repeated(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    first_out = capsys.readouterr().out
    before = _tree(run_of(tmp_path).path)
    assert command() == 0
    out, err = capsys.readouterr()
    assert out == first_out
    assert "finished" in err
    assert _tree(run_of(tmp_path).path) == before


def test_fresh_retrains_and_keeps_foreign_files(command: Command, tmp_path: Path) -> None:
    assert command() == 0
    run, first = run_of(tmp_path), record_of(tmp_path)
    (run.path / "notes.txt").write_text("mine")
    assert command("--fresh") == 0
    assert (run.path / "notes.txt").read_text() == "mine"
    second = record_of(tmp_path)
    assert second["sample_trace"] == first["sample_trace"]
    assert len(run.log.read_text().splitlines()) == 2


def test_a_dry_run_writes_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--dry-run") == 0
    assert not (tmp_path / "runs").exists()
    assert f"{TRAIN_IMAGES} images" in capsys.readouterr().out


def test_quiet_prints_only_the_result(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--quiet") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "test accuracy" in out


def test_seeds_and_settings_have_their_own_folders(command: Command, tmp_path: Path) -> None:
    flags: list[list[str]] = [[], ["--train.seed", "1"], ["--optim.lr", "0.05"]]
    assert [command(*more) for more in flags] == [0, 0, 0]
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 3
    assert sum("-s1-" in run.name for run in runs) == 1


def test_a_named_folder_of_another_run_is_refused_with_the_difference(
    command: Command, refused: Callable[..., str], tmp_path: Path
) -> None:
    assert command("--run.name", "mine") == 0
    before = _tree(tmp_path / "runs" / "mine")
    message = refused("--run.name", "mine", "--optim.lr", "0.05")
    assert "optim.lr (0.1 there, 0.05 here)" in message
    assert _tree(tmp_path / "runs" / "mine") == before


def test_two_processes_never_write_one_run(
    command: Command, refused: Callable[..., str], tmp_path: Path
) -> None:
    with RunFolder(tmp_path / "runs" / "mine"):
        assert "another process" in refused("--run.name", "mine")
    assert command("--run.name", "mine") == 0


def test_with_a_validation_split_the_test_set_is_read_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    real = train.evaluate

    def counting(network: Any, loader: Any, *rest: Any, **named: Any) -> Any:
        evaluated.append(loader.samples)
        return real(network, loader, *rest, **named)

    monkeypatch.setattr(train, "evaluate", counting)
    assert command("--data.validation", "0.2") == 0
    record = record_of(tmp_path)
    assert evaluated == [15, 15, TEST_IMAGES]
    assert record["train_images"] == TRAIN_IMAGES - 15
    assert record["validation_images"] == 15
    assert record["best_validation_accuracy"] is not None
    assert record["best_test_accuracy"] is None
    assert record["test_accuracy"] is not None


@pytest.mark.parametrize("tta", ["flip", "six"])
def test_the_final_weights_are_also_evaluated_by_several_views(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], tta: str
) -> None:
    assert command() == 0
    plain = record_of(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert command("--train.tta", tta) == 0
    record, printed = record_of(tmp_path), capsys.readouterr().out
    assert record["fingerprint"] != plain["fingerprint"]
    assert record["test_accuracy"] == plain["test_accuracy"]
    assert record["weights_sha256"] == plain["weights_sha256"]
    assert 0 <= record[f"test_accuracy_{tta}"] <= 1
    assert record[f"test_loss_{tta}"] > 0
    assert not [key for key in plain if key.endswith((f"_{tta}", "_six"))]
    assert f"{100 * record[f'test_accuracy_{tta}']:.2f} %  (test-time augmentation" in printed


def test_the_last_epoch_is_always_evaluated(command: Command, tmp_path: Path) -> None:
    flags = ["--model.dropout", "0.3", "--train.evaluate_every", "5", "--schedule.name", "onecycle"]
    assert command(*flags) == 0
    lines = [json.loads(x) for x in run_of(tmp_path).log.read_text().splitlines()]
    assert ["test_accuracy" in line for line in lines] == [False, True]


@pytest.mark.parametrize(("epochs", "steps"), [("0.5", 2), ("1.3", 6)])
def test_the_last_epoch_may_be_a_part_of_one(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], epochs: str, steps: int
) -> None:
    assert command("--train.epochs", epochs, "--train.evaluate_every", "5") == 0
    out, err = capsys.readouterr()
    record, run = record_of(tmp_path), run_of(tmp_path)
    assert (record["epochs"], record["steps"]) == (-(-steps // STEPS), steps)
    assert record["config"]["train"]["epochs"] == float(epochs)
    lines = [json.loads(x) for x in run.log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, record["epochs"] + 1))
    assert [line["step"] for line in lines] == [STEPS, steps][-len(lines) :]
    assert ["test_accuracy" in line for line in lines] == [False, True][-len(lines) :]
    images = 32 if steps == 2 else TRAIN_IMAGES + 16
    assert record["training_flops"] == images * record["flops"]["training"]
    assert lines[-1]["training_flops"] == record["training_flops"]
    assert f"epoch {epochs}/{epochs}" in err
    assert f"(last of {epochs} epochs" in out
    assert command("--train.epochs", epochs, "--train.evaluate_every", "5") == 0
    assert capsys.readouterr().out == out, "a finished run is not repeated"


@pytest.mark.parametrize("every_steps", ["0", "3"])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    every_steps: str,
) -> None:
    real = State.advance
    before: dict[str, torch.Tensor] = {}

    def poisoned(state: State, batch: Any) -> None:
        if state.counters.step == STEPS + 3:
            batch.images[0, 0, 0, 0] = float("nan")
            before.update({k: v.clone() for k, v in state.network.named_parameters()})
        try:
            real(state, batch)
        finally:
            after = dict(state.network.named_parameters())
            assert all(torch.equal(after[k], v) for k, v in before.items())

    monkeypatch.setattr(State, "advance", poisoned)
    assert command("--checkpoint.every_steps", every_steps) == 1
    err = capsys.readouterr().err
    good = STEPS if every_steps == "0" else (STEPS + 3) // 3 * 3
    assert f"loss became nan at step {STEPS + 4} (epoch 2, lr 0.05)" in err
    assert f"last good checkpoint: step {good}" in err
    assert "Traceback" not in err
    record = record_of(tmp_path)
    assert record["status"] == "failed"
    assert "loss became nan" in record["error"]
    monkeypatch.setattr(State, "advance", real)
    assert command("--checkpoint.every_steps", every_steps) == 0  # and the run can be continued
    assert record_of(tmp_path)["status"] == "finished"


def test_a_damaged_checkpoint_costs_one_interval_and_all_damaged_are_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    run, whole = run_of(tmp_path), record_of(tmp_path)
    weights = run.weights.read_bytes()
    run.record.write_text(json.dumps(whole | {"status": "running"}))
    newest = sorted(run.checkpoints.glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")
    assert command() == 0
    assert "damaged checkpoint" in capsys.readouterr().err
    assert run.weights.read_bytes() == weights
    assert len(run.log.read_text().splitlines()) == 2
    run.record.write_text(json.dumps(whole | {"status": "running"}))
    for path in run.checkpoints.glob("*.json"):
        path.write_text("{}")
    assert command() == 2
    assert "--fresh" in capsys.readouterr().err


def test_a_run_without_its_checkpoints_is_never_silently_restarted(
    command: Command, refused: Callable[..., str], tmp_path: Path
) -> None:
    assert command() == 0
    run, record = run_of(tmp_path), record_of(tmp_path)
    weights = run.weights.read_bytes()
    run.record.write_text(json.dumps(record | {"status": "interrupted"}))
    shutil.rmtree(run.checkpoints)
    for _ in range(2):
        assert "its checkpoints are missing" in refused()
    assert command("--fresh") == 0
    assert run.weights.read_bytes() == weights


def test_a_run_continues_in_the_precision_of_its_first_session(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(device, "has_bf16_units", lambda where: False)
    automatic = ["--runtime.precision", "auto", "--checkpoint.every_steps", "1"]
    real = State.advance

    def stopping(state: State, *rest: Any) -> None:
        real(state, *rest)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(State, "advance", stopping)
        assert command(*automatic) == 75
    monkeypatch.setattr(device, "has_bf16_units", lambda where: True)
    run, record = run_of(tmp_path), record_of(tmp_path)
    run.record.write_text(json.dumps(record | {"device": "another one"}))
    assert command(*automatic) == 0
    assert "warning: device was another one" in capsys.readouterr().err
    assert record_of(tmp_path)["precision"] == "fp32"
    run.record.write_text(json.dumps(record | {"precision": "bf16"}))  # which is wrong
    assert command(*automatic) == 2
    assert "computed in fp32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("root", "reason"),
    [("file/below", "is a file, not a folder"), ("n" * 300, "the name is too long")],
)
def test_an_impossible_folder_is_one_line(
    refused: Callable[..., str], tmp_path: Path, root: str, reason: str
) -> None:
    (tmp_path / "file").write_text("")
    (error,) = refused("--run.root", tmp_path / root, "--run.name", "x").splitlines()
    assert error.startswith("error: ") and reason in error


def test_warnings_are_printed_in_a_dry_run_and_when_quiet(
    command: Command, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ("--dry-run", "--quiet"):
        assert command(flag, "--data.test", str(files.train)) == 0
        out, err = capsys.readouterr()
        assert "the same file" in err
        assert "warning: " not in out


def test_unusable_data_is_refused_before_anything_is_written(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    unlabelled = tmp_path / "hidden.beton"
    images, labels = coloured(10, 0)
    write_beton(unlabelled, images, labels * 0 - 1, split="hidden")
    assert "without a label" in refused("--data.test", unlabelled)
    assert "no such file" in refused("--data.test", tmp_path / "no.beton")
    assert "data.validation" in refused("--data.validation", "74")
    assert not (tmp_path / "runs").exists()


def test_checkpoints_of_another_run_are_not_continued(
    command: Command, refused: Callable[..., str], tmp_path: Path
) -> None:
    assert command("--run.name", "mine") == 0
    (tmp_path / "runs" / "mine" / "record.json").unlink()
    assert "another run" in refused("--run.name", "mine", "--optim.lr", "0.05")
    assert command("--run.name", "mine") == 0


def test_a_test_loss_that_is_not_finite_is_recorded_as_null(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train.evaluate

    def endless(*args: Any, **named: Any) -> Any:
        means = real(*args, **named)
        assert means is not None
        return type(means)(means.images, None, means.accuracy)

    monkeypatch.setattr(train, "evaluate", endless)
    assert command() == 0
    assert record_of(tmp_path)["test_loss"] is None
    assert '"test_loss": null' in run_of(tmp_path).log.read_text()


def test_a_last_batch_of_one_image_is_refused_only_where_it_cannot_be_normalised(
    command: Command, refused: Callable[..., str]
) -> None:
    assert TRAIN_IMAGES % 37 == 1
    flags = ["--train.batch_size", "37", "--dry-run", "--model.widths", "4", "--model.blocks"]
    assert "last batch of one image" in refused(*flags, "1,1,1,1,1,1")
    assert command(*flags, "1,1,1") == 0
    assert command("--train.drop_last", *flags, "1,1,1,1,1,1") == 0


def test_stages_that_the_network_or_the_data_do_not_allow_are_refused(
    refused: Callable[..., str],
) -> None:
    sizes = ["--augment.sizes_until", "0.5", "--augment.sizes"]
    assert "augment.sizes: 4: too small for the network" in refused(
        *sizes, "4", "--model.blocks", "1,1,1,1,1"
    )
    two = ["--augment.sizes_until", "0.3,0.5", "--augment.sizes"]
    assert "augment.sizes: 40: larger than the images, which have 32" in refused(*two, "16,40")
    assert "augment.sizes: 32: the same as that of the images" in refused(*two, "16,32")
    assert "augment.sizes: 16: the same as the next size" in refused(*two, "16,16")
    pool = ["--model.blocks", "1,1", "--model.pool", "8"]
    assert "another number of inputs to the classifier" in refused(*sizes, "20", *pool)
    freeze = ["--train.freeze_from", "0.5", "--train.freeze_layers", "3", "--model.blocks", "1,1"]
    assert "train.freeze_layers: 3: the network has 2 layers" in refused(*freeze)
    bias = ["--optim.stem_bias_epochs", "2"]
    assert "optim.stem_bias_epochs: the network's stem has no bias" in refused(*bias)
    assert "train.drop_last: leaves no batch" in refused(
        "--train.drop_last", "--train.batch_size", "1024"
    )
