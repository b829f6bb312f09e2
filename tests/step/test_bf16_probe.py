"""`auto` precision: bfloat16 where it is measured to be faster."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config.schema import Config, Run, Runtime
from engine.step import bf16_probe, device
from tests.support.processes import python, succeed

CPU = torch.device("cpu")


def never() -> float:
    raise AssertionError("measured again")


def test_measuring_leaves_the_random_numbers_of_the_run() -> None:
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert 0.0 < bf16_probe.bf16_speedup() < 1000.0
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize(("gain", "precision"), [(1.0, "fp32"), (1.19, "fp32"), (1.2, "bf16")])
def test_auto_is_bf16_where_units_exist_and_are_faster(
    gain: float, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bf16_probe, "bf16_speedup", lambda: gain)
    monkeypatch.setattr(device, "has_bf16_units", lambda device: True)
    auto = Runtime(device="cpu", threads=1)
    assert device.prepare(auto, tmp_path).precision == precision
    monkeypatch.setattr(bf16_probe, "bf16_speedup", never)
    assert device.prepare(auto, tmp_path).precision == precision
    monkeypatch.setattr(device, "has_bf16_units", lambda device: False)
    assert device.prepare(auto, tmp_path).precision == "fp32"


def test_the_precision_of_an_exact_run_depends_on_no_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bf16_probe, "bf16_speedup", never)
    exact = Runtime(device="cpu", threads=1, exact=True)
    try:
        for units, precision in ((True, "bf16"), (False, "fp32")):
            monkeypatch.setattr(device, "has_bf16_units", lambda device, units=units: units)
            assert device.prepare(exact, tmp_path).precision == precision
    finally:
        torch.use_deterministic_algorithms(False)


def test_measuring_restores_the_threads_of_torch() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        bf16_probe.bf16_speedup()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_folder_is_beside_the_runs_unless_one_is_named() -> None:
    assert device.cache_folder(Config(run=Run(root="a/b"))) == Path("a/b/.cache")
    assert device.cache_folder(Config(runtime=Runtime(cache="c"))) == Path("c")


@pytest.mark.slow
def test_freed_memory_is_reused_by_the_next_step() -> None:
    """Filling the same 64 MB for the tenth time takes no page fault when memory is kept."""
    code = """
import resource, sys, torch
from engine.step import memory
kept = memory.keep() if sys.argv[1] == "keep" else True
def fill():
    torch.full((16, 1 << 20), 1.0)
for _ in range(9):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for way in ("keep", "as it is"):
        kept, faults[way] = map(int, succeed(*python("-c", code, way)).split())
        if not kept:
            pytest.skip("this C library always returns memory")
    assert faults["keep"] <= 8
    assert faults["as it is"] > faults["keep"]
