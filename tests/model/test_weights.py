"""Weights are drawn as torch.nn.init draws them, on the CPU, from the seed alone."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import init

from engine.config import checks
from engine.config.schema import Config, Data, Model, Train
from engine.data.sets import open_sets
from engine.model import ResNet, initialise, resolve, weights
from engine.runs.state import State
from engine.step import compiled
from engine.step.device import Machine
from tests.support.data import Files

CPU = torch.device("cpu")
NET = Model(blocks=(1, 2), widths=(16,), se="stem", se_reduction=4)
Draw = Callable[..., object]

# As the ancestor of report 000 and its team's earlier study called them (the catalogue, section 2).
REFERENCES: list[tuple[Model, Draw]] = [
    (Model(init="xavier_uniform"), init.xavier_uniform_),
    (Model(init="xavier_normal"), partial(init.xavier_normal_, gain=math.sqrt(2))),
    (Model(init="he_normal"), partial(init.kaiming_normal_, a=0, mode="fan_in")),
    (Model(init="he_uniform"), partial(init.kaiming_uniform_, nonlinearity="relu")),
    (Model(init="normal"), partial(init.normal_, mean=0, std=0.02)),
    (Model(init="normal", init_std=0.5), partial(init.normal_, mean=0, std=0.5)),
    (Model(init="orthogonal"), partial(init.orthogonal_, gain=math.sqrt(2))),
    (Model(init="orthogonal", init_gain=1.0), init.orthogonal_),
    (Model(init="xavier_uniform", init_gain=0.3), partial(init.xavier_uniform_, gain=0.3)),
]


def _network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(resolve(NET))


def _generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("model", "draw"), REFERENCES, ids=map(str, range(9)))
def test_each_initialisation_is_torchs_to_the_bit(model: Model, draw: Draw) -> None:
    ours, plain, untouched = _network(), _network(), _network()
    initialise(ours, model, _generator())
    generator, drawn = _generator(), set()
    for name, module in plain.named_modules():
        if type(module).__name__ in ("Convolution", "Conv2d", "Linear"):
            draw(module.weight, generator=generator)
            drawn.add(f"{name}.weight")
    assert len(drawn) == 11  # stem, two of the unit, six of blocks, one skip, classifier
    before, expected = untouched.state_dict(), plain.state_dict()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected[name])
        assert torch.equal(value, before[name]) == (name not in drawn)


def test_exactly_the_initialisations_with_a_gain_accept_one() -> None:
    assert tuple(weights.GAINED) == checks.GAINED


def test_default_is_pytorchs() -> None:
    ours, plain = _network(), _network()
    initialise(ours, Model(), _generator())
    states = ours.state_dict(), plain.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def _config(files: Files, name: str, seed: int = 3, **more: object) -> Config:
    return Config(
        data=Data(train=str(files.train), test=str(files.test)),
        model=dataclasses.replace(NET, init=name, **more),  # type: ignore[arg-type]
        train=Train(epochs=1, batch_size=16, seed=seed),
    )


def _weights(config: Config, machine: Machine | None = None) -> dict[str, Tensor]:
    machine = machine or Machine(CPU, "fp32", compile=False)
    return copy.deepcopy(State(config, machine, open_sets(config, CPU)).network.state_dict())


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["default", "he_normal", "orthogonal"])
def test_initial_weights_follow_from_the_seed_alone(files: Files, name: str) -> None:
    one = _weights(_config(files, name))
    torch.rand(17)
    assert _same(_weights(_config(files, name)), one)
    assert not _same(_weights(_config(files, name, seed=4)), one)
    # The draws are counted apart: classes, biases and dropout would not move them.
    dropped = _weights(_config(files, name, dropout=0.2, dropout_place="block"))
    assert torch.equal(dropped["stem.0.weight"], one["stem.0.weight"])


def test_a_compiled_network_is_reused_with_another_initialisation(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_kept", {})
    monkeypatch.setattr(compiled, "forward", lambda network, machine: network)
    machine = Machine(CPU, "fp32", compile=True)
    sets = open_sets(_config(files, "default"), CPU)
    first = State(_config(files, "default"), machine, sets)
    network = first.network
    del first
    second = State(_config(files, "he_normal"), machine, sets)
    assert second.network is network  # how weights are drawn is no part of the architecture
    assert _same(second.network.state_dict(), _weights(_config(files, "he_normal")))
