"""Weights are drawn as torch.nn.init draws them, on the CPU, from the seed alone."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

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
Draw = Callable[[Tensor, torch.Generator], object]

# As the ancestor of report 000 and its team's earlier study called them (the catalogue, section 2).
REFERENCES: list[tuple[Model, Draw]] = [
    (Model(init="xavier_uniform"), lambda w, g: nn.init.xavier_uniform_(w, generator=g)),
    (
        Model(init="xavier_normal"),
        lambda w, g: nn.init.xavier_normal_(w, gain=2**0.5, generator=g),
    ),
    (
        Model(init="he_normal"),
        lambda w, g: nn.init.kaiming_normal_(w, a=0, mode="fan_in", generator=g),
    ),
    (
        Model(init="he_uniform"),
        lambda w, g: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=g),
    ),
    (Model(init="normal"), lambda w, g: nn.init.normal_(w, 0, 0.02, generator=g)),
    (Model(init="normal", init_std=0.5), lambda w, g: nn.init.normal_(w, 0, 0.5, generator=g)),
    (
        Model(init="orthogonal"),
        lambda w, g: nn.init.orthogonal_(w, gain=math.sqrt(2), generator=g),
    ),
    (
        Model(init="orthogonal", init_gain=1.0),
        lambda w, g: nn.init.orthogonal_(w, generator=g),
    ),
    (
        Model(init="xavier_uniform", init_gain=0.3),
        lambda w, g: nn.init.xavier_uniform_(w, gain=0.3, generator=g),
    ),
]


def _network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(resolve(NET))


def _generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("model", "draw"), REFERENCES, ids=[str(i) for i in range(len(REFERENCES))]
)
def test_each_initialisation_is_torchs_to_the_bit(model: Model, draw: Draw) -> None:
    ours, plain, untouched = _network(), _network(), _network()
    initialise(ours, model, _generator())
    generator, drawn = _generator(), set()
    for name, module in plain.named_modules():
        if type(module).__name__ in ("Convolution", "Conv2d", "Linear"):
            draw(module.weight, generator)  # type: ignore[arg-type]
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


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("xavier_uniform", math.sqrt(2 / (64 * 9 * 2))),
        ("xavier_normal", math.sqrt(2) * math.sqrt(2 / (64 * 9 * 2))),
        ("he_uniform", math.sqrt(2 / (64 * 9))),
        ("he_normal", math.sqrt(2 / (64 * 9))),
        ("normal", 0.02),
        ("orthogonal", math.sqrt(2 / (64 * 9))),
    ],
)
def test_each_initialisation_has_the_standard_deviation_of_its_paper(
    init: str, deviation: float
) -> None:
    network = nn.Sequential(nn.Conv2d(64, 64, 3))
    initialise(network, Model(init=init), _generator())
    weight = network[0].weight.detach()
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(weight.mean().item()) < deviation / 50
    if init == "orthogonal":
        rows = weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(64), rtol=0, atol=1e-5)


def _config(files: Files, init: str, seed: int = 3, **more: object) -> Config:
    return Config(
        data=Data(train=str(files.train), test=str(files.test)),
        model=dataclasses.replace(NET, init=init, **more),  # type: ignore[arg-type]
        train=Train(epochs=1, batch_size=16, seed=seed),
    )


def _weights(config: Config, machine: Machine | None = None) -> dict[str, Tensor]:
    machine = machine or Machine(CPU, "fp32", compile=False)
    return copy.deepcopy(State(config, machine, open_sets(config, CPU)).network.state_dict())


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("init", ["default", "he_normal", "orthogonal"])
def test_initial_weights_follow_from_the_seed_alone(files: Files, init: str) -> None:
    one = _weights(_config(files, init))
    torch.rand(17)
    assert _same(_weights(_config(files, init)), one)
    assert not _same(_weights(_config(files, init, seed=4)), one)
    # The draws are counted apart: classes, biases and dropout would not move them.
    dropped = _weights(_config(files, init, dropout=0.2, dropout_place="block"))
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
