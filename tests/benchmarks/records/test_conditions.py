"""Which runs may be averaged, and which are repetitions of one setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import runs
from benchmarks.records.conditions import percent_summary, setting_key
from engine.errors import UserError
from tests.support.records import record, write_run


def test_a_mixture_of_conditions_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "a", record(seed=0))
    write_run(tmp_path, "b", record(seed=1, precision="fp32"))
    both = runs.read(tmp_path)
    with pytest.raises(UserError, match=r"a and b were made .* \(precision bf16 and fp32\)"):
        percent_summary(both, "test_accuracy")
    write_run(tmp_path, "c", record(seed=2))
    same = [run for run in runs.read(tmp_path) if run["precision"] == "bf16"]
    with pytest.raises(UserError, match=r"epochs scaled by 1 and 0\.05"):
        percent_summary(same, "test_accuracy", {same[1]["fingerprint"]: 0.05})
    summary = percent_summary(same, "test_accuracy")
    assert summary is not None and summary.n == 2


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seed": 1}, True),
        ({"settings": {"run": {"name": "other"}, "runtime": {"threads": 3}}}, True),
        ({"settings": {"data": {"train": "elsewhere/cifar10_train.beton"}}}, True),
        ({"data_digests": {"train": "a" * 64, "test": "c" * 64}}, False),
        ({"settings": {"optim": {"lr": 0.3}}}, False),
        ({"variant": "resnet1111"}, False),
    ],
)
def test_runs_of_one_setting_differ_only_in_what_has_no_effect(
    tmp_path: Path, change: dict[str, Any], same: bool
) -> None:
    write_run(tmp_path, "a", record())
    write_run(tmp_path, "b", record(**change))
    keys = {setting_key(run) for run in runs.read(tmp_path)}
    assert len(keys) == (1 if same else 2)


def test_without_digests_data_of_other_paths_is_another_setting(tmp_path: Path) -> None:
    for name in ("a", "b"):
        settings = {"data": {"train": f"{name}/cifar10_train.beton"}}
        write_run(tmp_path, name, record(settings=settings, data_digests=None))
    assert len({setting_key(run) for run in runs.read(tmp_path)}) == 2
