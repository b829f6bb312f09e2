"""`--jobs auto`: as measured on the machine, else a run per core, within its memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config.schema import Config, Model, Runtime, Train
from engine.step.measurements import keep, known
from engine.sweep import packing
from engine.sweep.packing import CONTEXT_BYTES, PROCESS_BYTES, activation_bytes, jobs_here, key_of

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


def test_on_a_gpu_its_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config("resnet453", batch=512)
    need = CONTEXT_BYTES + activation_bytes(config)
    monkeypatch.setattr(packing.device, "select", lambda runtime: torch.device("cuda"))
    monkeypatch.setattr(packing, "free_bytes", lambda device: 3 * need + GIB)
    assert jobs_here(config, cores=16) == 3
    assert jobs_here(config, cores=2) == 2
