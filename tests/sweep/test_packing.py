"""`--jobs auto`: as measured on the machine, else a run per core, within its memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config.schema import Config, Model, Runtime, Train
from engine.step.measurements import keep, known
from engine.sweep import packing
from engine.sweep.packing import (
    CONTEXT_BYTES,
    PROCESS_BYTES,
    activation_bytes,
    jobs_here,
    key_of,
    key_on_gpu,
)

GIB = 1 << 30


def _config(name: str = "resnet11", batch: int = 16) -> Config:
    return Config(
        model=Model(name=name), train=Train(batch_size=batch), runtime=Runtime(device="cpu")
    )


def test_without_a_measurement_there_is_a_run_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "free_bytes", lambda device: 64 * GIB)
    assert jobs_here(_config(), cores=8) == 8
    monkeypatch.setattr(packing, "free_bytes", lambda device: 5 * PROCESS_BYTES)
    assert jobs_here(_config(), cores=8) == 4, "the memory is enough for no more"
    monkeypatch.setattr(packing, "free_bytes", lambda device: 0)
    assert jobs_here(_config(), cores=8) == 1


def test_the_measured_network_nearest_in_work_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "free_bytes", lambda device: 64 * GIB)
    gains = {key_of(2, 10**8): 1.4, key_of(2, 10**10): 0.9, key_of(4, 10**10): 1.5}
    keep(gains, tmp_path)
    keep({key_of(2, 10**8): 1.5}, tmp_path)  # measured again
    assert known(tmp_path) == gains | {key_of(2, 10**8): 1.5}
    assert jobs_here(_config("resnet11"), 2, tmp_path) == 2
    assert jobs_here(_config("resnet453"), 2, tmp_path) == 1
    assert jobs_here(_config("resnet453"), 4, tmp_path) == 4


def test_on_a_gpu_its_memory_decides_and_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config("resnet453", batch=512)
    need = CONTEXT_BYTES + activation_bytes(config)
    monkeypatch.setattr(packing.device, "select", lambda runtime: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H200")
    monkeypatch.setattr(packing, "free_bytes", lambda device: 5 * need + GIB)
    assert jobs_here(config, cores=16) == 5
    assert jobs_here(config, cores=2) == 2
    large = {2: 1.1, 4: 1.3, 8: 1.6}
    small = {2: 1.8, 4: 2.4, 8: 1.9}
    for work, gains in ((10**8, small), (10**10, large)):
        keep(
            {key_on_gpu(jobs, "mps", "H200", work): gain for jobs, gain in gains.items()}, tmp_path
        )
    keep({key_on_gpu(2, "slices", "H200", 10**10): 0.9}, tmp_path)
    keep({key_of(16, 10**10): 1.5, key_on_gpu(8, "mps", "A100", 10**10): 3.0}, tmp_path)
    assert jobs_here(config, 16, tmp_path, "mps") == 4, "8 are faster, but do not fit"
    assert jobs_here(config, 3, tmp_path, "mps") == 2
    assert jobs_here(config, 16, tmp_path, "slices") == 1, "two are slower than one"
    monkeypatch.setattr(packing, "free_bytes", lambda device: 99 * need)
    assert jobs_here(config, 16, tmp_path, "mps") == 8
    assert jobs_here(_config("resnet11"), 16, tmp_path, "mps") == 4
