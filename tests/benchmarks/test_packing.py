"""The benchmark of several runs at a time, and that `--jobs auto` finds what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.packing import gpu
from benchmarks.packing.__main__ import main
from engine.config.schema import Model
from engine.errors import RunFailed
from engine.model import budget, resolve
from engine.step.measurements import known
from engine.sweep.packing import best_jobs, nearest_gain
from tests.support.data import Files
from tests.support.runs import Call

WORK = budget.flops(resolve(Model(name="resnet11"))).training


@pytest.mark.long
def test_gains_are_printed_written_and_kept(files: Files, tmp_path: Path, call: Call) -> None:
    output, cache = tmp_path / "packing.json", tmp_path / "cache"
    words = ("--networks", "resnet11", "--turns", "1", "--seconds", "0.01", "--json", output)
    code, out, _ = call(main, "--data", files.train, "--cache", cache, *words)
    assert code == 0
    content = json.loads(output.read_text())
    (row,) = content["networks"]
    assert row["network"] == "resnet11" and row["one"] > 0 and row["packed"] > 0
    assert f"{row['gain']:.2f}" in out
    gain = nearest_gain(known(cache), content["machine"]["cores"], 2 * WORK)
    assert gain == pytest.approx(row["gain"], abs=1e-3)


@pytest.mark.slow
def test_runs_at_once_are_started_measured_and_stopped(
    files: Files, tmp_path: Path, call: Call
) -> None:
    output, cache = tmp_path / "packing.json", tmp_path / "cache"
    words = ("--at-once", "2", "--images", "64", "--seconds", "0.1", "--networks", "resnet11")
    code, out, _ = call(main, "--data", files.train, "--cache", cache, "--json", output, *words)
    assert code == 0
    content = json.loads(output.read_text())
    cold, two = content["rows"]
    assert (cold["runs"], two["runs"]) == (1, 2) and cold["cold"] and not two["cold"]
    assert len(two["of_each"]) == 2 and sum(two["of_each"]) == two["images_per_second"] > 0
    assert 0 < two["runs_per_hour"] <= 7200 * two["images_per_second"] / (200 * 50_000)
    assert "nvidia-cuda-mps-control is not installed" in "".join(content["left_out"])
    assert "left out: resnet11, 2 by mps" in out


def test_what_fails_or_has_no_time_left_is_named_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(name: str, *rest: Any) -> dict[str, Any]:
        share, jobs, _ = rest[-3:]
        if (share, jobs) == ("slices", 8):
            raise RunFailed("a run ended: out of memory")
        rate = 100.0 * {"slices": 1 + jobs / 10, "mps": jobs}[share]
        return {"network": name, "operations": WORK, "share": share, "runs": jobs,
                "images_per_second": rate, "start_seconds": 9.0, "runs_per_hour": 3.0}  # fmt: skip

    monkeypatch.setattr(gpu, "_measured", measured)
    written: list[str] = []
    content = gpu.measure(
        ["resnet11"], tmp_path, "cpu", tmp_path, write=lambda so_far: written.append(str(so_far))
    )
    assert len(written) == 8 and written[-1] == str(content) != written[-2]
    assert next(iter(content["figures"])).startswith("resnet11, ")
    assert content["left_out"] == ["resnet11, 8 by slices: a run ended: out of memory"]
    assert len(content["rows"]) == 1 + 3 + 3, "the cold one, slices, and mps from two on"
    assert gpu.gains(content) == {}, "not of a GPU"
    content["machine"]["gpu"] = "H200"
    kept = gpu.gains(content)
    assert best_jobs(kept, "slices", "H200", 3 * WORK, 16) == 4
    assert best_jobs(kept, "mps", "H200", WORK, 16) == 8
    assert "resnet11  mps               8       800  7.27" in gpu.table(content)
    late = gpu.measure(["resnet11"], tmp_path, "cpu", tmp_path, gpu.Sizes(minutes=0))
    assert not late["rows"] and "resnet11, 4 by mps: no time left" in late["left_out"]
