"""Sweep files are read strictly: every mistake is reported with its line, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import USER_ERROR, run_command
from engine.sweep.__main__ import main
from engine.sweep.files import read_files

HEAD = "title: A sweep\nsettings: {model: {name: resnet111}}\nexperiments:\n"
ONE = HEAD + "  - id: '1'\n    title: One\n"
VALUE = ONE + "    reported: [{value: 9, "

WRONG = [  # the file, the line of the problem, its message
    ("title: x\n", 1, "expected `experiments:`, or `include:`"),
    ("experiments: []\n", 1, "title: missing"),
    ("title: ''\nexperiments: []\n", 1, "title: empty"),
    ("- a\n", 1, "expected a sweep file, with title, include, report"),
    (ONE + "reprot: x\n", 6, "reprot: no such key in a sweep file; did you mean report?"),
    (ONE + "    tilte: x\n", 6, "tilte: no such key in an experiment; did you mean title?"),
    (ONE + "    title: Two\n", 6, "title: already given on line 5"),
    (ONE.replace("'1'", "4.1"), 4, "id: expected text, found 4.1; put it in quotes"),
    (ONE.replace("'1'", "a/b"), 4, "id: a/b: expected a name without /"),
    (ONE + "  - id: '1'\n    title: Two\n", 6, "id: 1: already given at"),
    (ONE + "    recipe: T44\n", 6, "recipe: no recipe T44; did you mean T4?"),
    (ONE + "    recipe: ../quickstart\n", 6, "recipe: no recipe ../quickstart"),
    (ONE + "    seeds: [0, 0]\n", 6, "seeds: expected a list of different seeds"),
    (ONE + "    seeds: [-1]\n", 6, "seeds: expected a list of whole numbers"),
    (ONE + "    seeds: 3\n", 6, "write [3]"),
    (ONE + "    runs: [{weights_from: [a]}]\n", 6, "weights_from: expected text"),
    (ONE + "    settings: 3\n", 6, "settings: expected settings, indented below it"),
    (ONE + "    settings: {optim: {lrr: 1}}\n", 6, "optim.lrr: no such option; did you mean opt"),
    (ONE + "    settings: {optim: {lr: -1}}\n", 6, "optim.lr: expected a number, above 0"),
    (ONE + "    settings: {optim: {lr: fast}}\n", 6, "optim.lr: expected a number"),
    (ONE + "    settings: {train: {seed: 3}}\n", 6, "train.seed: seeds belong to `seeds:`"),
    (ONE + "    settings: {run: {name: x}}\n", 6, "run.name: a run's folder is named by"),
    (ONE + "    settings: {run: {root: x}}\n", 6, "run.root: give it to the command"),
    (ONE + "    axes: [1]\n", 6, "axes: expected settings, each with a list of values"),
    (ONE + "    axes: {optim.lrr: [1]}\n", 6, "axes: optim.lrr: no such option; did you mean"),
    (ONE + "    axes: {optim.lr: 0.1}\n", 6, "axes: optim.lr: expected a list of values"),
    (ONE + "    axes: {optim.lr: []}\n", 6, "axes: optim.lr: expected a list of values, found []"),
    (ONE + "    axes: {optim.lr: [0.1, 1.0e-1]}\n", 6, "axes: optim.lr: 1.0e-1 is given twice"),
    (ONE + "    axes: {optim.lr: [0.1, x]}\n", 6, "optim.lr: expected a number, above 0, found x"),
    (ONE + "    axes: {train.seed: [0, 1]}\n", 6, "axes: train.seed: seeds belong to"),
    (ONE + "    runs: {a: 1}\n", 6, "runs: expected a list, each entry begun with a dash"),
    (ONE + "    runs: [{name: a}, {name: a}]\n", 6, "name: a: already given at"),
    (ONE + "    runs: [{settings: {optim: {lr: 1}}}, {settings: {optim.lr: 1}}]\n", 6, "1/lr=1: 2"),
    (ONE + "    reported: [{evidence: log}]\n", 6, "value: missing; a remark without a number b"),
    (ONE + "    reported: [{value: 101}]\n", 6, "value: expected a number, 0 to 100, found 101"),
    (ONE + "    reported: [{value: 9, evidence: me}]\n", 6, "evidence: expected report, log, a"),
    (ONE + "    reported: [{value: 9, statistic: top}]\n", 6, "statistic: expected best, last, m"),
    (ONE + "    reported: [{value: 9, at: {optim.lr: 3}}]\n", 6, "no run is at these settings"),
    (
        ONE + "    axes: {optim.lr: [0.1, 0.2]}\n    reported: [{value: 9}]\n",
        7,
        "reported: of 2 runs; say of which, with `at:`",
    ),
    (
        ONE + "    runs: [{reported: [{value: 9}]}]\n    axes: {optim.lr: [0.1, 0.2]}\n",
        6,
        "reported: belongs to 2 runs; give it under the experiment, with `at:`",
    ),
    (VALUE + "mesure: test_loss}]", 6, "mesure: no such key in a reported value; did you mean mea"),
    (VALUE + "measure: tets_loss}]", 6, "did you mean test_loss?"),
    (VALUE + "measure: epochs}]", 6, "threshold: expected with measure epochs, and only there"),
    (VALUE + "measure: parameters, statistic: last}]", 6, "statistic: not with measure parameters"),
    (VALUE + "measure: epochs, threshold: {train_acuracy: 9}}]", 6, "did you mean train_accuracy?"),
    (VALUE + "statistic: at}]", 6, "epoch: expected with statistic at, and only there"),
    (VALUE + "statistic: best, epoch: 9}]", 6, "epoch: expected with statistic at, and only there"),
    (VALUE + "epoch: 0}]", 6, "epoch: expected a whole number, at least 1, found 0"),
    (VALUE + "until: 9}]", 6, "until: only with statistic best, last or moving, found unknown"),
    (VALUE + "selection: validation, statistic: last}]", 6, "leave out statistic last"),
    (VALUE + "selection: validation, measure: train_loss}]", 6, "only with test_accuracy or"),
    (VALUE + "estimator: running_mean, measure: test_loss}]", 6, "a running mean is of an acc"),
    (VALUE + "statistic: moving, measure: test_loss}]", 6, "a moving average is of an accuracy"),
    (VALUE + "read: figure}]", 6, "precision: missing; a value read off a figure needs it"),
    (VALUE + "run: other}]", 6, "note: missing; with run other it says which run"),
    (VALUE + "best_over: [optim.lr]}]", 6, "best_over: optim.lr is the same in all of"),
    (VALUE + "best_over: [optim.lrr]}]", 6, "best_over: optim.lrr: no such option; did you mean"),
    (
        ONE + "    axes: {optim.lr: [1, 2], optim.momentum: [0, 0.9]}\n"
        "    reported: [{value: 9, best_over: [optim.lr]}]\n",
        7,
        "best_over: optim.momentum varies too among these 4 runs; add it, or fix it with `at:`",
    ),
    (ONE + "    notes: x\n", 6, "notes: expected a list"),
    (ONE + "    why: [a]\n", 6, "why: expected text, found [a]"),
    (HEAD + "  - 3\n", 4, "expected an experiment, with id, title, recipe"),
    # what engine.train would refuse
    (ONE + "    settings: {model: {name: resnet18}}\n", 6, "over the budget of 5,000,000"),
    (ONE + "    settings: {model: {blocks: [9, 9, 9]}}\n", 6, "over the budget of 5,000,000"),
    (ONE + "    settings: {model: {name: resnet1x}}\n", 6, "no variant 'resnet1x'; did you mean"),
    (ONE + "    settings: {augment: {crop_padding: 40}}\n", 6, "expected a whole number, 0 to 31"),
    (ONE + "    settings: {optim: {clip_value: 1, clip_norm: 1}}\n", 6, "expected only one of"),
    (ONE + "    axes: {optim.name: [sgd, adam]}\n    settings: {optim.nesterov: on}\n", 7, "only"),
    (ONE + "    settings: {schedule: {name: step, t_max: 3}}\n", 6, "only with cosine, one"),
    (ONE + "    settings: {model: {name: resnet22222, stem_stride: 4}}\n", 6, "have room for 4"),
]  # fmt: skip


def _refused(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The messages about a sweep file that is refused; nothing may be written."""
    path = folder / "x.yaml"
    path.write_text(text)
    command = ["--sweep-file", str(path), "--dry-run", "--run.root", str(folder / "runs")]
    assert run_command(main, command) == USER_ERROR
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    assert [entry.name for entry in folder.iterdir()] == ["x.yaml"]
    return err.splitlines()


@pytest.mark.parametrize(("text", "line", "message"), WRONG, ids=lambda value: str(value)[-40:])
def test_a_mistake_is_named_with_its_line(
    text: str, line: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = _refused(tmp_path, text, capsys)
    place = f"error: {tmp_path / 'x.yaml'}, line {line}: "
    assert any(each.startswith(place) and message in each for each in messages), messages
    assert len(messages) == 1, "one mistake, one line"


def test_all_mistakes_of_all_files_and_of_the_command_are_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(ONE + "    settings: {model: {name: resnet18}}\n    whi: x\n")
    (tmp_path / "b.yaml").write_text(ONE.replace("'1'", "'2'") + "    recipe: T\n    axes: {x: 1}")
    command = ["--sweep-file", str(tmp_path / "a.yaml"), "--sweep-file", str(tmp_path / "b.yaml")]
    command += ["--seeds", "x", "--jobs=-3", "--epochs-scale", "0", "--optim.lr", "3"]
    assert run_command(main, command) == USER_ERROR
    err = capsys.readouterr().err
    for message in (
        "a.yaml, line 6: model.name: 11,173,962",
        "a.yaml, line 7: whi: no such key in an experiment; did you mean why?",
        "b.yaml, line 6: recipe: no recipe T",
        "b.yaml, line 7: axes: x: no such option",
        "--seeds: expected a whole number, 1 to 10,000, found x",
        "--jobs: expected a whole number, 0 to 1,024, or auto, found -3",
        "--epochs-scale: expected a number, 0.0001 to 100, such as 0.05, found 0",
        "--optim.lr: no such option",
    ):
        assert message in err
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["a.yaml", "b.yaml"]


def test_a_command_without_a_file_or_with_an_unknown_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, ["--dry-run"]) == USER_ERROR
    assert "--sweep-file: missing" in capsys.readouterr().err
    (tmp_path / "a.yaml").write_text(ONE)
    command = ["--sweep-file", str(tmp_path / "a.yaml"), "--dry-run", "--only", "1/resnet11"]
    assert run_command(main, command) == USER_ERROR
    err = capsys.readouterr().err
    assert "--only 1/resnet11: no run, experiment or report of that name; did you mean 1/" in err


def test_files_that_include_each_other_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("title: a\ninclude: [b.yaml]\n")
    (tmp_path / "b.yaml").write_text("title: b\ninclude:\n- c.yaml\n- a.yaml\n")
    command = ["--sweep-file", str(tmp_path / "a.yaml"), "--dry-run"]
    assert run_command(main, command) == USER_ERROR
    err = capsys.readouterr().err
    assert "b.yaml, line 4: include: files that include each other: a.yaml > b.yaml > a.yaml" in err
    assert "b.yaml, line 3: " in err and "c.yaml: no such config file" in err


def test_a_file_that_is_included_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "all.yaml").write_text("title: all\ninclude: [one.yaml, ./one.yaml]\n")
    sheet = read_files([tmp_path / "all.yaml", tmp_path / "one.yaml"])
    assert sheet.problems == []
    assert [experiment.id for experiment in sheet.experiments] == ["1"]


def test_too_many_runs_are_refused_before_they_are_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ", ".join(str(number / 1000) for number in range(1, 300))
    text = ONE + f"    axes: {{optim.lr: [{values}], optim.momentum: [{values}]}}\n"
    (message,) = _refused(tmp_path, text, capsys)
    assert "89,401 runs of one experiment" in message


WORDS = ["title", "experiments", "id", "axes", "runs", "settings", "reported", "optim.lr", "model"]
VALUES = st.recursive(
    st.sampled_from(["x", "0.1", "'1'", "~", "!!python/object:os.system {}", "&a b", "*a", ""]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(st.tuples(st.sampled_from(WORDS), inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(WORDS), VALUES), min_size=1, max_size=5))
def test_any_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text("\n".join(f"{key}: {value}" for key, value in pairs))
    assert run_command(main, ["--sweep-file", str(path), "--dry-run"]) in (0, USER_ERROR)
