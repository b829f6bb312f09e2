"""A reported value is held only against the value of a run that it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import plans, runs
from benchmarks.report import formats
from benchmarks.report.experiments import ExperimentResult, experiment_results
from tests.support.records import plan_entry, record, reported, write_plan, write_run

LINES = [  # of an Adam run whose learning rate stays high
    {
        "epoch": epoch,
        "test_accuracy": accuracy,
        "test_loss": 2 - accuracy,
        "train_accuracy": 1.0 if epoch > 2 else 0.5,
        "train_loss": 0.1,
    }
    for epoch, accuracy in enumerate((0.60, 0.70, 0.80, 0.90, 0.85), start=1)
]


def result_of(root: Path, value: dict[str, Any], **more: Any) -> ExperimentResult:
    """The result of one run of five epochs, with one reported value."""
    content = record(epochs=5, accuracy=0.85, **more)
    content |= {"best_test_accuracy": 0.9} | {k: v for k, v in LINES[-1].items() if "_" in k}
    write_run(root, "one", content, LINES)
    write_plan(root, [plan_entry(content, "4.5/resnet453/s0", values=[value])])
    (result,) = experiment_results(runs.read(root), plans.read(root))
    return result


@pytest.mark.parametrize(
    ("value", "measured", "shown", "about"),
    [
        (reported(85.0, "last"), 85.0, "85.00", "last epoch"),
        (reported(90.0, "best"), 90.0, "90.00", "best epoch"),
        (reported(80.0, "best", until=3), 80.0, "80.00", "best of 3 epochs"),
        (reported(70.0, "last", until=2), 70.0, "70.00", "last of 2 epochs"),
        (reported(60.0, "at", epoch=1), 60.0, "60.00", "at epoch 1"),
        (reported(1.15, "last", measure="test_loss"), 1.15, "1.1500", "last test loss"),
        (reported(1.1, "best", measure="test_loss"), 1.1, "1.1000", "best test loss"),
        (reported(50.0, "at", measure="train_accuracy", epoch=2), 50.0, "50.00", None),
        (reported(4992586, measure="parameters"), 4992586, "4,992,586", "parameters"),
        (
            reported(3, "unknown", measure="epochs", threshold={"train_accuracy": 100}),
            3, "3", "epochs to train accuracy 100",
        ),
        (
            reported(4, "unknown", measure="epochs", threshold={"test_loss": 1.15}),
            4, "4", "epochs to test loss 1.15",
        ),
    ],
)  # fmt: skip
def test_the_measure_and_the_epoch_are_those_of_the_reported_value(
    value: dict[str, Any], measured: float, shown: str, about: str | None, tmp_path: Path
) -> None:
    result = result_of(tmp_path, value)
    assert result.reported is not None
    if value.get("measure") == "epochs":  # one run does not say how far such a number varies
        assert result.verdict == "not measured" and "one seed" in result.basis
        return
    assert result.as_reported is not None
    assert result.as_reported.mean == pytest.approx(measured)
    assert formats.as_reported(result) == shown
    assert about in (None, formats.measured_as(result.reported))
    assert result.verdict in ("agrees within noise", "equal")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (reported(80.0, "best", until=9), "the run has 5 epochs, not 9"),
        (reported(80.0, "at", epoch=9), "the run has 5 epochs, not 9"),
        (reported(80.0, "moving"), "fewer than 20 epochs were evaluated"),
        (reported(80.0, measure="validation_accuracy"), "the log has no validation accuracy"),
        (reported(91.0, "unknown", selection="validation"), "kept no weights by validation"),
        (reported(91.0, measure="calibration"), "this version knows no measure calibration"),
        (reported(91.0, "median"), "this version knows no statistic median"),
    ],
)
def test_what_a_run_cannot_give_is_said_and_not_judged(
    value: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    result = result_of(tmp_path, value)
    assert (result.verdict, result.difference) == ("not measured", None)
    assert reason in result.basis


def test_a_plan_in_older_words_reads_as_one_of_today(tmp_path: Path) -> None:
    old = result_of(tmp_path / "mean", reported(85.15, "batchmean")).reported
    assert old is not None and (old.statistic, old.estimator) == ("last", "running_mean")
    old = result_of(tmp_path / "best", reported(91.5, "validation_best")).reported
    assert old is not None and (old.statistic, old.measure) == ("best", "validation_accuracy")


def test_weights_kept_by_validation_are_compared_with_kept_weights(tmp_path: Path) -> None:
    best = {"epoch": 4, "validation_accuracy": 0.93, "test_accuracy": 0.91, "test_loss": 0.3}
    value = reported(91.01, "unknown", selection="validation")
    result = result_of(tmp_path, value, best_weights=best)
    assert result.as_reported is not None and result.as_reported.mean == pytest.approx(91.0)
    assert result.verdict == "agrees within noise"
    assert "one seed" in result.basis and "how the kept epoch varies is not in it" in result.basis


def test_a_value_of_another_run_is_never_judged(tmp_path: Path) -> None:
    result = result_of(tmp_path, reported(20.0, run="other", note="of 350 epochs"))
    assert (result.verdict, result.difference) == ("not judged", None)
    assert "of 350 epochs" in formats.remarks(result)


def test_an_epoch_that_is_not_stated_may_be_the_last_or_the_best(tmp_path: Path) -> None:
    for number, (value, verdict) in enumerate(
        [(85.0, "agrees"), (90.0, "agrees"), (95.9, "lower"), (60.0, "higher")]
    ):
        result = result_of(tmp_path / str(number), reported(value, "unknown"))
        assert result.verdict.startswith(verdict), value


def test_a_running_mean_and_a_figure_have_their_own_tolerance(tmp_path: Path) -> None:
    def verdict(name: str, *accuracies: float, **more: Any) -> str:
        contents = [record(seed=seed, accuracy=each) for seed, each in enumerate(accuracies)]
        for content in contents:
            write_run(tmp_path / name, f"s{content['seed']}", content)
        values = [reported(95.0, precision=more.pop("precision", 0.005), **more)]
        entries = [plan_entry(c, f"4.5/x/s{c['seed']}", values=values) for c in contents]
        write_plan(tmp_path / name, entries)
        (result,) = experiment_results(runs.read(tmp_path / name), plans.read(tmp_path / name))
        return result.verdict

    assert verdict("exact", 0.9515, 0.9515) == "higher"
    assert verdict("mean", 0.9515, 0.9515, estimator="running_mean") == "agrees within noise"
    assert verdict("figure", 0.9515, 0.9515, read="figure", precision=0.5) == "agrees within noise"


def test_the_best_of_a_panel_is_judged_once_and_only_when_all_of_it_has_run(
    tmp_path: Path,
) -> None:
    def panel(root: Path, accuracies: list[float], missing: int = 0) -> list[ExperimentResult]:
        value = reported(95.0, precision=0.005, best_over=["optim.momentum"], at={"optim.lr": 0.1})
        entries = []
        for number, accuracy in enumerate(accuracies):
            content = record(accuracy=accuracy, settings={"optim": {"momentum": number / 10}})
            if number >= missing:
                write_run(root, f"run{number}", content)
            entries.append(plan_entry(content, f"0.8/momentum={number}/s0", values=[value]))
        write_plan(root, entries)
        return experiment_results(runs.read(root), plans.read(root))

    *cells, best = panel(tmp_path / "all", [0.80, 0.95, 0.94])
    assert [cell.verdict for cell in cells] == ["nothing reported"] * 3
    assert best.as_reported is not None and best.as_reported.mean == pytest.approx(95.0)
    assert (best.verdict, best.runs) == ("agrees within noise", ("run1",))
    assert best.plan.label == "best momentum at lr=0.1"
    *_, best = panel(tmp_path / "off", [0.80, 0.90, 0.85])
    assert best.verdict == "lower"
    *_, best = panel(tmp_path / "some", [0.80, 0.95, 0.94], missing=1)
    assert (best.verdict, best.basis) == ("panel incomplete", "2 of its 3 runs have finished")
