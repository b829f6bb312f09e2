"""The networks that a GPU will train first, as they are: their recorded steps equal eager ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.config.schema import Augment, Config, Data, Model, Optim, Runtime, Schedule, Train
from engine.data.sets import DataSets, open_sets
from engine.runs.state import State
from engine.step import device, replay
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.recording_device import install

pytestmark = pytest.mark.timeout(600)  # whole networks, on a machine that may be busy
BATCH = 4
FP32 = Runtime(device="cpu", precision="fp32", threads=1)
NETWORKS = {
    "resnet453": Optim(clip_norm=1.0, lookahead_k=2),
    "house94": Optim("muon", 0.02, 0.6, nesterov=True, norm_lr=0.2, head_lr=0.1, rest_lr=0.1),
    "se_resnet443": Optim("adamw", 0.01, ema_decay=0.7),
}
WAYS: dict[str, dict[str, Any]] = {
    "default": {"runtime": dataclasses.replace(FP32, precision="bf16")},
    "exact": {"runtime": dataclasses.replace(FP32, exact=True)},
    "autoaugment": {"augment": Augment(autoaugment=True, cutout=8)},
    "stages": {"augment": Augment(sizes=(16,), sizes_until=(0.5,))},
}


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("house94", "exact"),
        *(
            pytest.param(name, way, marks=pytest.mark.slow)
            for name in NETWORKS
            for way in WAYS
            if (name, way) != ("house94", "exact")
        ),
    ],
)
def test_a_network_is_recorded_and_replayed_as_it_steps(
    files: Files, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    stages = 2 if way == "stages" else 1
    steps = 3 * stages  # warmed up, recorded and replayed, replayed
    monkeypatch.setattr(replay, "WARM_UPS", 1)
    epochs = steps * BATCH / TRAIN_IMAGES
    config = Config(
        data=Data(train=str(files.train), test=str(files.test)),
        model=Model(name=name, budget=0),
        train=Train(epochs=epochs, batch_size=BATCH, seed=3, label_smoothing=0.1),
        optim=NETWORKS[name],
        schedule=Schedule("trapezoid"),
        **({"runtime": FP32} | WAYS[way]),
    )
    machine = device.prepare(config.runtime)
    sets = open_sets(config, machine.device)
    expected = _trained(config, machine, sets)
    recorder = install(monkeypatch)
    result = _trained(config, machine, sets)
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[each], expected[each]) for each in expected)
    assert [graph.replays for graph in recorder.graphs] == [2] * stages


def _trained(config: Config, machine: device.Machine, sets: DataSets) -> dict[str, Tensor]:
    """Everything of the state after the whole run."""
    state = State(config, machine, sets)
    for batch in state.epoch(0):
        state.advance(batch)
    tensors, _ = state.snapshot("a run")
    return {name: tensor.clone() for name, tensor in tensors().items()}
