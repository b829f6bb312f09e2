"""A run's record, its log and its weights are held against each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine import evaluate, seal, train
from engine.errors import OK, USER_ERROR, UserError, run_command
from engine.runs import agreement, trained
from engine.runs.directory import OWN_DIGEST, RunFolder
from tests.support.data import Files
from tests.support.runs import SHORT, Call, run_of


@pytest.fixture(scope="module")
def finished(files: Files, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, which the tests only read."""
    root = tmp_path_factory.mktemp("finished")
    flags = [*SHORT, *files.flags(), "--run.root", str(root / "runs")]
    assert run_command(train.main, flags) == OK
    return run_of(root)


@pytest.fixture
def copy(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy to change."""
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))


def _record(run: RunFolder) -> dict[str, Any]:
    """The record as an older version wrote it, without a digest."""
    content: dict[str, Any] = json.loads(run.record.read_text())
    del content[OWN_DIGEST]
    return content


def test_any_flipped_bit_of_a_record_is_noticed(finished: RunFolder, tmp_path: Path) -> None:
    whole, before = finished.record.read_bytes(), finished.read_record()
    damaged = RunFolder(tmp_path)
    for place in range(0, len(whole), 13):
        content = bytearray(whole)
        content[place] ^= 1 << place % 7
        damaged.record.write_bytes(content)
        try:
            after = damaged.read_record()
        except UserError as error:
            assert str(error).startswith(str(damaged.record))
        else:  # white space, or the name of the digest itself, as in an older version
            assert after is not None
            assert after == before or OWN_DIGEST not in after, f"byte {place}"


def test_a_changed_record_is_refused_and_made_again_where_it_is_removed(
    copy: RunFolder, files: Files, call: Call
) -> None:
    whole = copy.record.read_text()
    copy.record.write_text(whole.replace('"status": "finished"', '"status": "finishes"'))
    flags = [*SHORT, *files.flags(), "--run.root", copy.path.parent, "--run.name", copy.path.name]
    for main, words in ((train.main, flags), (evaluate.main, [copy.path])):
        code, _, err = call(main, *words)
        assert code == USER_ERROR
        assert "record.json: changed or damaged (its own digest does not match); remove it" in err
    accuracy = json.loads(whole)["test_accuracy"]
    copy.record.unlink()
    assert call(train.main, *flags)[0] == OK
    assert _record(copy)["test_accuracy"] == accuracy


def test_a_record_of_an_older_version_is_read_as_before(copy: RunFolder, call: Call) -> None:
    before = call(evaluate.main, copy.path, "--device", "cpu")
    assert before[0] == OK and "warning" not in before[2]
    copy.record.write_text(json.dumps(_record(copy)))
    assert call(evaluate.main, copy.path, "--device", "cpu") == before


@pytest.mark.parametrize("key", ["test_accuracy", "train_loss", "steps", "sample_trace"])
def test_a_record_that_contradicts_its_log_is_refused(
    copy: RunFolder, call: Call, key: str
) -> None:
    content = _record(copy) | {key: 0.9999}
    copy.record.write_text(json.dumps(seal.sealed(content, OWN_DIGEST)))
    code, _, err = call(evaluate.main, copy.path)
    assert code == USER_ERROR
    assert err.startswith(f"error: {copy.path}: {key} is 0.9999 in record.json and ")
    *others, _ = copy.log.read_text().splitlines()
    copy.log.write_text("\n".join(others) + "\n")  # cut: it says nothing
    agreement.check(copy, content)
    copy.log.unlink()
    agreement.check(copy, content)


def test_a_result_that_the_weights_do_not_reach_is_named(copy: RunFolder, call: Call) -> None:
    content = _record(copy) | {"test_accuracy": 0.1234}
    copy.record.write_text(json.dumps(seal.sealed(content, OWN_DIGEST)))
    copy.log.unlink()
    code, out, err = call(evaluate.main, copy.path, "--json")
    assert code == OK and json.loads(out)["accuracy"] > 0.3
    assert f"warning: {copy.path}: record.json says 12.34 %, but its weights reach " in err


def test_another_rounding_is_no_contradiction() -> None:
    assert agreement.contradicts(0.95, 0.9504, 10_000) == ""
    assert agreement.contradicts(0.5, 20 / 41, 41) == ""
    assert agreement.contradicts(0.95, 0.9599, 10_000) != ""
    assert agreement.contradicts(0.9999, 0.14, 10_000) != ""


def test_no_damage_to_an_older_record_ends_in_a_traceback(copy: RunFolder) -> None:
    whole = json.dumps(_record(copy), indent=1)
    read = 0
    for place in range(0, len(whole), 23):
        changed = whole[:place] + chr(ord(whole[place]) ^ 1 << place % 5) + whole[place + 1 :]
        copy.record.write_text(changed)
        try:
            read += trained.read(copy, "last").side > 0
        except UserError as error:
            assert str(copy.path) in str(error)
    assert read
    copy.log.unlink()
    for key, value in (
        ("config", []), ("classes", 3), ("mean", ["x"] * 3), ("std", [0.1]), ("precision", "int1"),
        ("image_side", 10**400), ("data_digests", None), ("test_accuracy", "x"), ("config", None),
    ):  # fmt: skip
        copy.record.write_text(json.dumps(json.loads(whole) | {key: value}))
        with pytest.raises(UserError, match="record.json: damaged, or of another version"):
            trained.read(copy, "last")
