"""Peers of time to accuracy: others' scripts as they are loaded, and what a run of each gives."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest
import torch

from benchmarks.accuracies.time_to import counting, trial
from benchmarks.accuracies.time_to.peers import (
    Outcome,
    Stopwatch,
    Task,
    airbench,
    ffcv_example,
    foreign,
    is_evaluated,
    ours,
)
from benchmarks.accuracies.time_to.peers.foreign import Change
from engine import train
from engine.errors import UserError, run_command
from engine.step import rates
from tests.support import peer_scripts
from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files
from tests.support.runs import record_of

NET = ("--model.blocks", "1,1", "--model.widths", "4", "--runtime.precision", "fp32")


@pytest.fixture
def task(files: Files) -> Task:
    return Task("", str(files.train), "cpu", 1, seed=3)


def test_a_script_of_another_version_is_refused_with_the_known_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = peer_scripts.airbench_checkout(tmp_path, monkeypatch)
    assert "class CifarNet" in foreign.read(checkout, airbench.SCRIPT)
    with (checkout / airbench.SCRIPT.path).open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UserError, match=r"not the version that is known.*check out commit f1c599c"):
        foreign.read(checkout, airbench.SCRIPT)
    with pytest.raises(UserError, match="expected a checkout of github.com/KellerJordan"):
        foreign.read(tmp_path / "none", airbench.SCRIPT)


def test_a_change_that_does_not_find_its_place_exactly_is_refused(tmp_path: Path) -> None:
    code = "def f(x):\n    return g(1) + g(1)\ndef h(x):\n    return g(1)\n"
    both = Change("tried", "f", "g(1)", "g(2)", times=2)
    tree = foreign.changed(ast.parse(code), [both], tmp_path)
    assert ast.unparse(tree) == "def f(x):\n    return g(2) + g(2)\n\ndef h(x):\n    return g(1)"
    once = Change("tried", "f", "g(1)", "g(2)")
    with pytest.raises(UserError, match=r"expected `g\(1\)` 1 times in f, found it 2 times"):
        foreign.changed(ast.parse(code), [once], tmp_path)


def test_airbench_trains_on_a_cpu_in_float32_weights_and_counts_its_own_network(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = peer_scripts.airbench_checkout(tmp_path, monkeypatch)
    here = Path.cwd()
    outcome = airbench.run(Task(**vars(task) | {"checkout": str(checkout), "epochs": 2.0}))
    assert Path.cwd() == here
    steps = 2 * (TRAIN_IMAGES // 16)
    assert (outcome.steps, outcome.images, outcome.epochs) == (steps, 16 * steps, 2.0)
    assert outcome.params == 3 * 4 * 9 + 4 + 4 * 10 + 10
    convolution, head = 2 * 3 * 4 * 9 * 30 * 30, 2 * 4 * 10
    training = 2 * convolution + 3 * head  # the images need no gradient
    assert outcome.petaflops == pytest.approx(1e-15 * outcome.images * training)
    single, six = outcome.views["single"], outcome.views["six"]
    assert single.petaflops == pytest.approx(1e-15 * TEST_IMAGES * (convolution + head))
    assert six.petaflops == pytest.approx(6 * single.petaflops)
    assert 0 <= single.accuracy <= 1 and six.seconds > 0
    assert [point["epoch"] for point in outcome.curve] == [1, 2]
    assert outcome.curve[-1]["seconds"] == outcome.seconds > 0
    assert len(outcome.facts["changes"]) == 3 and "not a Git" in outcome.facts["commit"]


def test_airbench_gives_the_same_with_the_same_seed(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = peer_scripts.airbench_checkout(tmp_path, monkeypatch)
    again = Task(**vars(task) | {"checkout": str(checkout), "epochs": 1.0})
    first, second = (airbench.run(again) for _ in range(2))
    assert [p["accuracy"] for p in first.curve] == [p["accuracy"] for p in second.curve]


def test_ffcvs_example_trains_on_a_cpu_and_is_evaluated_apart(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = peer_scripts.ffcv_checkout(tmp_path, monkeypatch)
    outcome = ffcv_example.run(Task(**vars(task) | {"checkout": str(checkout)}))
    assert (outcome.epochs, outcome.steps, outcome.images) == (3.0, 15, 120)
    assert outcome.facts["recipe"]["num_workers"] == 1
    assert outcome.facts["recipe"]["lr_peak_epoch"] == 3  # a shorter run than the recipe's
    assert set(outcome.views) == {"single", "flip"}
    assert outcome.views["flip"].petaflops == 2 * outcome.views["single"].petaflops
    assert [point["epoch"] for point in outcome.curve] == [1, 2, 3]
    assert outcome.curve[-1]["seconds"] <= outcome.seconds
    work = 2 * 3 * 4 * 9 * 30 * 30 * 2 + 3 * 2 * 3600 * 10
    assert outcome.petaflops == pytest.approx(1e-15 * 120 * work)


def test_ours_is_trained_as_engine_train_does(task: Task, tmp_path: Path, files: Files) -> None:
    words = (*NET, "--train.batch_size", "16", "--train.epochs", "1.5", "--optim.lr", "0.05")
    words += ("--augment.sizes", "20", "--augment.sizes_until", "0.4", "--optim.ema_decay", "0.5")
    outcome = ours.run(Task(**vars(task) | {"words": words, "cache": str(tmp_path / "cache")}))
    flags = [
        *words,
        *files.flags(),
        "--runtime.device",
        "cpu",
        "--train.seed",
        "3",
        "--train.tta",
        "six",
        "--quiet",
    ]
    assert run_command(train.main, [*flags, "--run.root", str(tmp_path / "runs")]) == 0
    record = record_of(tmp_path)
    assert outcome.steps == record["steps"] and outcome.params == record["params"]
    assert outcome.petaflops == pytest.approx(1e-15 * record["training_flops"])
    assert outcome.views["single"].accuracy == record["test_accuracy"]
    assert outcome.views["six"].accuracy == record["test_accuracy_six"]
    assert outcome.facts["fingerprint"] != record["fingerprint"]  # that of a run with six views
    assert [point["epoch"] for point in outcome.curve] == [1.0, outcome.epochs]
    assert outcome.facts["recipe"]["petaflops"] == pytest.approx(outcome.petaflops)


def test_a_recipe_can_be_cut_at_a_time(task: Task, tmp_path: Path) -> None:
    words = (*NET, "--train.batch_size", "16", "--train.epochs", "50")
    cut = Task(**vars(task) | {"words": words, "most_seconds": 1e-9, "cache": str(tmp_path)})
    outcome = ours.run(cut)
    assert (outcome.steps, outcome.images) == (1, 16)
    assert outcome.epochs == pytest.approx(1 / 5)
    assert list(outcome.views) == ["single"] and len(outcome.curve) == 1
    work = outcome.facts["recipe"]
    assert work["epochs"] == 50 and work["petaflops"] > 100 * outcome.petaflops


def test_a_trial_gives_the_outcome_with_its_conditions(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rates.PRODUCT, "cpu", 32)
    given: list[Task] = []

    def run(task: Task) -> Outcome:
        given.append(task)
        return Outcome("bf16", "bf16", 16, 10)

    monkeypatch.setattr(trial, "peer", run)
    answer = trial.main(json.dumps(vars(task) | {"words": ["--a", "b"], "started": 1.0}))
    assert given == [Task(**vars(task) | {"words": ("--a", "b")})]
    assert len(answer["product_tflops"]) == 2 and answer["batch_size"] == 16
    assert {"cpu", "threads", "memory", "load_before", "versions"} <= set(answer["conditions"])
    json.dumps(answer)


def test_pauses_do_not_count_and_long_runs_are_evaluated_now_and_then() -> None:
    waited: list[int] = []
    watch = Stopwatch(lambda: waited.append(1))
    with watch.paused():
        before = watch.seconds
        assert watch.seconds == before
    assert watch.reached(0.0) and not watch.reached(1e6)
    assert len(waited) == 5
    assert [epoch for epoch in range(1, 9) if is_evaluated(epoch, 8)] == list(range(1, 9))
    assert [epoch for epoch in range(1, 201) if is_evaluated(epoch, 200)][:2] == [13, 26]
    assert is_evaluated(200, 200) and is_evaluated(9, 8.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "peer", "forward", "params"),
    [("AIRBENCH", airbench, 236_294_720, 1_972_792), ("FFCV", ffcv_example, 0, 2_274_880)],
)
def test_the_known_scripts_can_be_changed_and_their_networks_counted(
    variable: str, peer: object, forward: int, params: int
) -> None:
    if variable not in os.environ:
        pytest.skip(f"{variable} names no checkout")
    changes = airbench.FOR_A_CPU if peer is airbench else ffcv_example.FOR_A_CPU
    script = airbench.SCRIPT if peer is airbench else ffcv_example.SCRIPT
    module = foreign.load(Path(os.environ[variable]), script, changes, EPOCHS=8)
    network = module.CifarNet() if peer is airbench else module.construct_model()
    assert counting.parameters(network) == params
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert not forward or counting.forward(network) == forward
