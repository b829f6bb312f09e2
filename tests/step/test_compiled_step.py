"""Compiled once per architecture, kept in a folder, and the same numbers as eager."""

from __future__ import annotations

import functools
import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.config.schema import Optim, Runtime
from engine.data.loader import Batch
from engine.errors import UserError
from engine.model import ResNet
from engine.model.variants import Variant
from engine.optim.schedules import Rates
from engine.optim.stages import Stage
from engine.step import compiled, device
from engine.step.device import Machine
from engine.step.training import TrainingStep
from tests.support.data import Files
from tests.support.processes import python, succeed

CPU = torch.device("cpu")
EAGER = Machine(CPU, "fp32", False)
COMPILED = Machine(CPU, "fp32", True)

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler"
)


class User:
    """The owner of a network."""


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_kept", {})


def test_a_second_run_reuses_the_network_with_its_own_weights() -> None:
    user, fresh = User(), network(0)
    first = compiled.reused(fresh, "a", COMPILED, user)
    assert first is fresh
    first(torch.ones(2, 4)).sum().backward()
    first.eval()
    places = [p.data_ptr() for p in first.parameters()]
    del user
    second = compiled.reused(network(1), "a", COMPILED, other := User())
    assert second is first
    assert [p.data_ptr() for p in second.parameters()] == places
    assert second.training
    assert all(p.grad is None for p in second.parameters())
    expected = network(1).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in second.state_dict().items())
    assert isinstance(other, User)


def test_two_runs_at_once_never_share_weights() -> None:
    one, two = User(), User()
    first = compiled.reused(network(0), "a", COMPILED, one)
    second = compiled.reused(network(1), "a", COMPILED, two)
    assert second is not first
    assert not torch.equal(first[0].weight, second[0].weight)  # type: ignore[index]


def test_a_user_in_a_reference_cycle_counts_as_gone() -> None:
    user: Any = User()
    user.self = user
    first = compiled.reused(network(0), "a", COMPILED, user)
    gc.disable()
    try:
        del user
        assert compiled.reused(network(1), "a", COMPILED, User()) is first
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("architecture", "machine"),
    [("b", COMPILED), ("a", Machine(CPU, "bf16", True)), ("a", EAGER)],
)
def test_another_architecture_or_precision_is_another_network(
    architecture: str, machine: Machine
) -> None:
    first = compiled.reused(network(0), "a", COMPILED, User())
    assert compiled.reused(network(1), architecture, machine, User()) is not first


def test_without_compilation_forward_is_the_network_itself() -> None:
    plain = network(0)
    assert compiled.forward(plain, EAGER) is plain


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "another's"])
def test_a_damaged_artifact_is_dropped_with_a_warning(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"name{compiled.ENDING}"
    monkeypatch.setattr(torch.compiler, "save_cache_artifacts", lambda: (b"x" * 999, None))
    compiled.save(path)
    content = path.read_bytes()
    changed = content[:50] + bytes([content[50] ^ 1]) + content[51:]
    ways = {"empty": b"", "cut": content[:-1], "flipped": changed, "another's": content}
    path.write_bytes(ways[damage])
    if damage == "another's":  # intact, but torch cannot read it
        monkeypatch.setattr(torch.compiler, "load_cache_artifacts", lambda content: None)
    assert not compiled.load(path)
    assert f"warning: {path}: deleted, compiling again" in capsys.readouterr().err
    assert not path.exists()
    assert not compiled.load(path)  # no file is no error
    assert capsys.readouterr().err == ""


@pytest.mark.slow  # it imports torch's compiler
def test_compiled_code_is_never_recorded_by_itself_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._inductor import config

    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "restored after this test")
    as_by_variable = {"triton.cudagraphs": True, "coordinate_descent_tuning": False}
    with config.patch(as_by_variable):  # type: ignore[no-untyped-call]  TORCHINDUCTOR_CUDAGRAPHS=1
        compiled.forward(network(0), Machine(torch.device("cuda", 0), "bf16", True))
        assert not config.triton.cudagraphs


def test_a_machine_without_a_compiler_trains_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    runtime = Runtime(device="cpu", precision="fp32", threads=1)
    assert not device.prepare(runtime).compile
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        device.prepare(Runtime(device="cpu", precision="fp32", threads=1, compile=True))


RUNS = """
import json, sys
import torch
from pathlib import Path
from engine import train
from engine.errors import run_command
root, cache, runs = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
records = []
for number, flags in enumerate(runs):
    name = ["--run.root", str(root), "--run.name", str(number), "--runtime.cache", cache]
    assert train.main([*name, *flags]) == 0
    records.append(json.loads((root / str(number) / "record.json").read_text()))
counters = torch._dynamo.utils.counters
print(json.dumps({
    "graphs": counters["stats"]["unique_graphs"],
    "misses": counters["inductor"]["fxgraph_cache_miss"],
    "hits": counters["inductor"]["fxgraph_cache_hit"],
    "records": records,
}))
"""


def train_in_one_process(
    files: Files, root: Path, cache: Path, runs: list[list[str]]
) -> dict[str, Any]:
    """Train one after the other; the records, and the number of compilations."""
    net = "--model.blocks 1 --model.widths 4 --train.batch_size 16".split()
    where = "--runtime.device cpu --runtime.threads 1 --runtime.precision fp32 --quiet".split()
    flags = [[*files.flags(), *net, *where, *run] for run in runs]
    command = python("-c", RUNS, root, cache, json.dumps(flags))
    one_thread = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    output = succeed(*command, environment=one_thread, seconds=200)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


@needs_a_compiler
@pytest.mark.slow
def test_seeds_rates_schedules_and_lengths_share_one_compilation(
    files: Files, tmp_path: Path
) -> None:
    short, compile_it = ["--train.epochs", "1"], ["--runtime.compile", "true"]
    other_rates = ["--schedule.name", "onecycle", "--optim.name", "adam", "--optim.lr", "0.01"]
    runs = [
        [*short, *compile_it],
        [*compile_it, "--train.epochs", "2", "--train.seed", "5", "--optim.lr", "0.03"],
        [*short, *compile_it, *other_rates],
        short,
    ]
    cache = tmp_path / "cache"
    once = train_in_one_process(files, tmp_path / "one", cache, runs)
    assert (once["graphs"], once["misses"]) == (1, 2)  # forward and backward

    # Five steps in float32 whose sums are ordered otherwise: 1e-7 each, and little to amplify it.
    compiled_one, *_, eager_one = once["records"]
    assert (compiled_one["compiled"], eager_one["compiled"]) == (True, False)
    assert compiled_one["train_loss"] == pytest.approx(eager_one["train_loss"], rel=1e-4)

    # A fresh process on a fresh machine, with the artifact alone: the same bits, nothing compiled.
    [artifact] = cache.glob(f"*{compiled.ENDING}")
    other = tmp_path / "carried"
    other.mkdir()
    shutil.copy(artifact, other)
    again = train_in_one_process(files, tmp_path / "two", other, runs[1:2])
    assert (again["misses"], again["hits"]) == (0, 2)
    assert again["records"][0]["weights_sha256"] == once["records"][1]["weights_sha256"]


@pytest.mark.slow
def test_each_stage_of_a_run_is_compiled_once_and_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graphs = torch._dynamo.utils.counters["stats"]
    torch._dynamo.reset()
    real, before = torch.compile, graphs["unique_graphs"]
    monkeypatch.setattr(torch, "compile", functools.partial(real, backend="eager"))
    monkeypatch.setattr(compiled, "_misses", lambda: graphs["unique_graphs"])
    saved: list[int] = []
    monkeypatch.setattr(compiled, "save", lambda path: saved.append(graphs["unique_graphs"]))
    net = ResNet(Variant((1, 1), (4,)), classes=4, side=16)
    machine = Machine(torch.device("cpu"), "fp32", compile=True, cache=tmp_path)
    step = TrainingStep(net, Optim(), machine)
    stages = [Stage(8, 0), Stage(12, 0), Stage(0, 0), Stage(0, 1)]
    batch = Batch(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3]))
    for stage in stages * 2:  # the second time nothing is compiled again
        for number in range(3):
            step(batch, Rates(0.1, 0.9), number, stage)
            frozen = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is None}
            assert ("stem" in frozen) == (stage.frozen > 0)
    assert graphs["unique_graphs"] - before == len(stages)
    assert saved == [before + 1, before + 2, before + 3, before + 4]
