"""`python -m benchmarks.compare`: better, worse, within noise, equal to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import __main__ as compare
from engine.errors import run_command
from tests.support.paths import ROOT
from tests.support.records import log, record, write_run

Compare = Callable[..., tuple[int, str, str]]
LOADER = ROOT / "benchmarks" / "results" / "cpu-2-cores" / "loader.json"


@pytest.fixture
def comparing(capsys: pytest.CaptureFixture[str]) -> Compare:
    def call(*flags: object) -> tuple[int, str, str]:
        code = run_command(compare.main, [str(flag) for flag in flags])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def side(root: Path, accuracies: list[float], rate: float = 1000.0, **more: Any) -> Path:
    for seed, accuracy in enumerate(accuracies):
        speed = rate * (1 + 0.001 * (seed - 1))
        content = record(seed=seed, accuracy=accuracy, images_per_second=speed, **more)
        write_run(root, f"run{seed}", content)
    return root


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.960, 0.961, 0.962], "better"),
        ([0.940, 0.941, 0.942], "worse"),
        ([0.949, 0.951, 0.953], "within noise"),
    ],
)
def test_accuracy_is_judged_by_welchs_interval(
    tmp_path: Path, comparing: Compare, accuracies: list[float], verdict: str
) -> None:
    first = side(tmp_path / "a", [0.949, 0.950, 0.951])
    second = side(tmp_path / "b", accuracies)
    code, out, _ = comparing(first, second)
    (accuracy, throughput) = out.splitlines()[1:]
    assert code == 0
    assert accuracy.endswith(verdict)
    assert "points" in accuracy and "n = 3" in accuracy
    assert throughput.endswith("within noise")


def test_throughput_is_judged_too(tmp_path: Path, comparing: Compare) -> None:
    first = side(tmp_path / "a", [0.95, 0.951])
    second = side(tmp_path / "b", [0.95, 0.951], rate=1100.0)
    _, out, _ = comparing(first, second)
    throughput = out.splitlines()[2]
    assert "+10.0 %" in throughput
    assert throughput.endswith("better")


def test_single_runs_are_compared_by_the_throughput_of_their_epochs_only(
    tmp_path: Path, comparing: Compare
) -> None:
    first, second = side(tmp_path / "a", [0.95]), side(tmp_path / "b", [0.96], rate=2000.0)
    _, out, _ = comparing(first / "run0", second / "run0")
    accuracy, throughput = out.splitlines()[1:]
    assert accuracy.endswith("cannot tell: needs at least two values on each side")
    assert "throughput, epochs" in throughput
    assert throughput.endswith("better")


def test_a_mixture_of_conditions_on_one_side_is_refused(tmp_path: Path, comparing: Compare) -> None:
    first = side(tmp_path / "a", [0.95, 0.951])
    write_run(first, "other", record(seed=7, accuracy=0.9, precision="fp32"))
    code, out, err = comparing(first, side(tmp_path / "b", [0.95, 0.951]))
    assert (code, out) == (2, "")
    assert "made under different conditions" in err


def test_differences_between_the_sides_are_listed(tmp_path: Path, comparing: Compare) -> None:
    first = side(tmp_path / "a", [0.95, 0.951])
    other = {"precision": "fp32", "settings": {"optim": {"lr": 0.3}}}
    _, _, err = comparing(first, side(tmp_path / "b", [0.95, 0.951], **other))
    assert "precision bf16 and fp32" in err
    assert "optim.lr 0.1 and 0.3" in err


def test_many_settings_are_compared_one_by_one(tmp_path: Path, comparing: Compare) -> None:
    for name, variants in (("a", ("resnet453", "resnet1111")), ("b", ("resnet1111", "resnet224"))):
        for variant in variants:
            for seed in range(2):
                write_run(tmp_path / name, f"{variant}-{seed}", record(variant, seed))
    code, out, err = comparing(tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["resnet1111"] * 2
    assert "only in A: resnet453" in err and "only in B: resnet224" in err


def test_unfinished_runs_are_left_out_and_named(tmp_path: Path, comparing: Compare) -> None:
    first = side(tmp_path / "a", [0.95, 0.951])
    write_run(first, "stopped", record(seed=9) | {"status": "interrupted"})
    _, _, err = comparing(first, side(tmp_path / "b", [0.95, 0.951]))
    assert "A: stopped is interrupted: left out" in err


def test_benchmark_files_are_compared_turn_by_turn(tmp_path: Path, comparing: Compare) -> None:
    content = json.loads(LOADER.read_text())
    for rates in content["details"]["images_per_second"].values():
        rates["values"] = [2 * value for value in rates["values"]]
    (tmp_path / "new.json").write_text(json.dumps(content))
    code, out, _ = comparing(LOADER, tmp_path / "new.json")
    row = next(line for line in out.splitlines() if line.startswith("ours, resident, uint8 "))
    assert code == 0
    assert "+100.0 %" in row and row.endswith("better")
    _, out, _ = comparing(LOADER, LOADER)
    assert {line.split("  ")[-1].strip() for line in out.splitlines()[1:]} == {"within noise"}


def test_the_json_has_all_numbers(tmp_path: Path, comparing: Compare) -> None:
    first = side(tmp_path / "a", [0.95, 0.951])
    _, out, _ = comparing(first, first, "--json")
    accuracy, _ = json.loads(out)
    assert (accuracy["verdict"], accuracy["difference"]["difference"]) == ("within noise", 0.0)
    assert accuracy["first"]["n"] == 2


def test_equal_losses_are_equal_and_one_bit_is_not(tmp_path: Path, comparing: Compare) -> None:
    first, second = side(tmp_path / "a", [0.95]), side(tmp_path / "b", [0.95])
    code, out, _ = comparing(first, second, "--assert-equal")
    assert (code, out) == (0, "equal to the bit: the losses of 1 run\n")
    (path,) = (tmp_path / "b").glob("*/log.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["test_loss"] = lines[1]["test_loss"] * (1 + 2**-52)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = comparing(first, second, "--assert-equal")
    assert (code, out) == (1, "")
    assert "test_loss of epoch 2 is" in err


def test_runs_on_only_one_side_are_not_equal(tmp_path: Path, comparing: Compare) -> None:
    first = side(tmp_path / "a", [0.95, 0.951])
    second = side(tmp_path / "b", [0.95, 0.951, 0.952])
    code, _, err = comparing(first, second, "--assert-equal")
    assert (code, err) == (1, "error: only on one side: run2\n")
    assert comparing(first, first, "--assert-equal")[0] == 0


def test_logs_of_different_lengths_are_not_equal(tmp_path: Path, comparing: Compare) -> None:
    first, second = side(tmp_path / "a", [0.95]), side(tmp_path / "b", [0.95])
    path = second / "run0" / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in log(record())[:5]))
    code, _, err = comparing(first, second, "--assert-equal")
    assert code == 1
    assert "20 and 5 epochs" in err


def test_wrong_arguments_are_user_errors(tmp_path: Path, comparing: Compare) -> None:
    runs = side(tmp_path / "a", [0.95])
    (tmp_path / "x.json").write_text("[]")
    for flags, words in (
        ((runs,), "the following arguments are required: B"),
        ((runs, tmp_path / "nowhere"), "no such folder"),
        ((runs, LOADER), "compare runs with runs, or JSON with JSON"),
        ((LOADER, LOADER, "--assert-equal"), "runs have losses"),
        ((LOADER, tmp_path / "x.json"), "not the JSON of benchmarks.loader"),
        ((runs, runs, "--such"), "unrecognized arguments: --such"),
    ):
        code, out, err = comparing(*flags)
        assert (code, out) == (2, "")
        assert words in err


def test_nothing_in_common_is_an_error(tmp_path: Path, comparing: Compare) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = comparing(tmp_path / "empty", side(tmp_path / "b", [0.95]))
    assert code == 1
    assert "nothing in common" in err
