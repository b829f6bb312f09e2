"""Accuracies of whole runs: what is planned, summarised, and set beside the reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracies import __main__ as accuracies
from benchmarks.measuring.whole_run import Unfinished
from engine import train
from engine.errors import RESUMABLE, run_command
from engine.model import VARIANTS
from tests.support.data import Files
from tests.support.paths import ROOT
from tests.support.runs import Call


def test_accuracies_come_with_their_number_and_spread() -> None:
    runs = [
        {"variant": name, "test_accuracy": value}
        for name, value in (("a", 0.94), ("b", 0.5), ("a", 0.96))
    ]
    result = accuracies.summary(runs, ladder=False)["accuracy"]
    assert result["a"]["n"] == 2 and result["a"]["mean"] == pytest.approx(0.95)
    assert result["a"]["std"] == pytest.approx(0.0141421, rel=1e-4)
    assert result["b"]["std"] is None


def test_a_ladder_names_the_fastest_run_that_ends_at_a_target() -> None:
    runs = [
        {"epochs": epochs, "seed": 0, "test_accuracy": accuracy,
         "wall_seconds": seconds + 9, "without_compiling_seconds": seconds}
        for epochs, accuracy, seconds in ((10, 0.93, 8.0), (20, 0.951, 16.0), (40, 0.955, 32.0))
    ]  # fmt: skip
    result = accuracies.summary(runs, ladder=True)["seconds_to"]
    assert result["0.95"]["epochs"] == 20 and result["0.95"]["without_compiling_seconds"] == 16.0
    assert result["0.94"]["epochs"] == 20 and result["0.96"] is None


@pytest.mark.parametrize("ladder", [[], ["--ladder", "15,30"]])
def test_every_planned_run_is_a_command_that_the_engine_takes(
    ladder: list[str], files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    args = accuracies._arguments(["--variants", "resnet453", "--seeds", "1,2", *ladder])
    plans = accuracies.planned(args)
    assert len(plans) == 2
    for variant, flags in plans:
        config = ["--config-file", str(ROOT / "configs" / f"{variant}.yaml")]
        assert run_command(train.main, [*config, *files.flags(), *flags, "--print-config"]) == 0
        assert flags[flags.index("--train.seed") + 1] in ("1", "2")
    capsys.readouterr()


def test_a_kept_run_that_was_not_finished_is_left_out_and_the_exit_code_says_so(
    files: Files, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(variant: str, *where: object, **options: object) -> dict[str, Any]:
        assert options["keep"] == tmp_path / "runs"
        if variant == "resnet111":
            raise Unfinished("7 epochs trained, the next call continues")
        return {"variant": variant, "seed": 0, "epochs": 1, "test_accuracy": 0.5,
                "wall_seconds": 1.0, "without_compiling_seconds": 1.0}  # fmt: skip

    monkeypatch.setattr(accuracies, "run", run)
    words = ["--data", files.train, "--device", "cpu", "--json", tmp_path / "x.json"]
    words += ["--keep", tmp_path / "runs", "--variants", "resnet11,resnet111"]
    code, out, _ = call(accuracies.main, *words)
    left_out = "resnet111 --train.seed 0: 7 epochs trained, the next call continues"
    assert code == RESUMABLE and f"no time left for: {left_out}" in out
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["left_out"] == [left_out] and len(content["runs"]) == 1
    assert call(accuracies.main, *words, "--minutes", "0.9")[0] == RESUMABLE  # none was begun


def test_the_reported_accuracies_are_those_of_the_sweep_files() -> None:
    assert set(accuracies.FINALS) <= set(VARIANTS)
    reported = {variant: accuracies.reported(variant) for variant in accuracies.FINALS}
    assert reported["resnet453"].endswith("95.52 last (log)")
    assert reported["se_resnet443"].startswith("95.54 last (log: 95.5362 at epoch 199)")
    assert reported["resnet4643_w32"].startswith("90.86 last (report")
    assert reported["resnet22222_maxpool_skip"].startswith("91.01 ")
    assert accuracies.reported("resnet111") is None


def test_the_text_has_a_line_per_run_and_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        {"variant": "resnet453", "seed": seed, "epochs": 2, "test_accuracy": accuracy,
         "wall_seconds": 9.0, "without_compiling_seconds": 7.0}
        for seed, accuracy in enumerate((0.94, 0.96))
    ]  # fmt: skip
    failed = [{"variant": "resnet111", "flags": ["--x", "1"], "error": "no memory"}]
    results = {"runs": runs, "failed": failed, "left_out": ["resnet18 --y 2"]}
    lines = accuracies.text(results | accuracies.summary(runs, ladder=False)).splitlines()
    assert lines[0].startswith("resnet453, seed 0, 2 epochs: 94.00 % in 9.0 s (7.0 s without")
    assert lines[2:4] == ["failed: resnet111 --x 1: no memory", "no time left for: resnet18 --y 2"]
    assert lines[4].startswith("resnet453: mean 95.00 %, n 2, std 1.41; reported: 95.66 best")
