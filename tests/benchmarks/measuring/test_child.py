"""Measurements in processes of their own, and the training set that a benchmark finds or writes."""

import pytest

from benchmarks.measuring import child, data
from engine.errors import RunFailed, UserError

ANSWERS = """
import json, os, sys
task = json.loads(sys.argv[1])
print("on its way")
print(json.dumps(task | {"cache": os.environ["NUMBA_CACHE_DIR"]}))
sys.exit(task["code"])
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Give a task to a small module in a process of its own."""
    (tmp_path / "answers.py").write_text(ANSWERS)
    (tmp_path / "fails.py").write_text("import sys; sys.exit('first\\nno such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def call(module, code=0, **options):
        return child.answer(module, {"code": code}, cache=tmp_path / "c", seconds=30, **options)

    return call


def test_the_last_line_is_the_answer_and_compiled_code_stays_below_the_cache(ask, tmp_path):
    answer, code = ask("answers")
    assert code == 0 and answer["started"] > 0
    assert answer["cache"] == str(tmp_path / "c" / "numba")


def test_a_process_that_fails_says_why(ask):
    with pytest.raises(RunFailed, match="python -m fails failed: no such file"):
        ask("fails")
    with pytest.raises(RunFailed, match="python -m answers failed: no message"):
        ask("answers", code=3)


def test_an_answer_counts_although_the_process_crashes_afterwards_where_that_is_known(ask):
    assert ask("answers", code=3, may_crash=True)[1] == 3


def test_a_named_training_set_must_exist(tmp_path):
    with pytest.raises(UserError, match=r"--data no\.beton: no such file"):
        data.find("no.beton")
    (tmp_path / "some.beton").touch()
    assert data.find(str(tmp_path / "some.beton")) == tmp_path / "some.beton"


def test_cifar10_is_found_before_the_synthetic_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data.find(None) is None
    (tmp_path / "data").mkdir()
    for name in reversed(data.USUAL):
        (tmp_path / name).touch()
        assert str(data.find(None)) == name


def test_the_synthetic_images_are_written_with_a_test_set_and_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with data.training_set(None, 40) as path:
        assert path.exists() and path.with_name("synthetic_test.beton").exists()
    assert not path.parent.exists() and not list(tmp_path.iterdir())
