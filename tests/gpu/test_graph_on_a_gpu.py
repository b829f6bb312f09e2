"""The recorded step on a GPU: it agrees with the eager one, and nothing waits."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import train
from engine.config.schema import Augment, Config, Data, Model, Optim, Runtime, Schedule, Train
from engine.data.sets import open_sets
from engine.errors import RunFailed, run_command
from engine.runs.checkpoint import Saved
from engine.runs.state import State
from engine.step import device, replay
from engine.step.device import NO_SAVINGS, Machine, Savings
from engine.step.evaluation import evaluate
from engine.step.replay import WARM_UPS, CudaRecorder
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.dying import Died, dying
from tests.support.runs import outcome

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
BATCH = 16
STEPS = -(-TRAIN_IMAGES // BATCH)
EPOCHS = WARM_UPS + 3
ONECYCLE = Schedule(name="onecycle")
MUON = Optim(
    "muon", 0.01, 0.6, nesterov=True, norm_lr=0.02, head_lr=0.02, rest_lr=0.02, lookahead_k=3,
    lookahead_power=2.0, lookahead_buffers=True,
)  # fmt: skip
COLOURED = Augment(
    cutout=8, cutout_fill="mean", erasing=0.5, contrast=0.2, saturation=0.3, mixup=0.5, cutmix=1.0
)

# Mean losses of about 1. fp32 differs by the order of sums and one rounding of each rate, which
# some steps of training carry on; bf16 keeps 8 bits and fp16 11 of each product's factors.
TOLERANCE = {"fp32": 2e-3, "bf16": 3e-2, "fp16": 1e-2}


@pytest.fixture(autouse=True)
def _cuda() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.backends.cudnn.benchmark = False


def _config(files: Files, **sections: Any) -> Config:
    net = {"model": Model(blocks=(1, 1), widths=(16,), se="stem", se_reduction=2)}
    length = {"train": Train(epochs=EPOCHS, batch_size=BATCH, seed=3, evaluate_batch_size=BATCH)}
    data = {"data": Data(train=str(files.train), test=str(files.test))}
    runtime = {"runtime": Runtime(compile=False, precision="fp32", autotune=False)}
    return Config(**(data | net | length | runtime | sections))


def _machine(config: Config, **changes: Any) -> Machine:
    return dataclasses.replace(device.prepare(config.runtime), **changes)


def _train(state: State, losses: list[float], until: int = EPOCHS * STEPS) -> State:
    counters = state.counters
    for epoch in range(counters.epoch, EPOCHS):
        for batch in state.epoch(epoch, skip=counters.step_in_epoch):
            if counters.step == until:
                return state
            state.advance(batch)
            state.check()
        losses.append(float(state.step.totals.loss) / TRAIN_IMAGES)
        state.step.totals.reset()
        counters.end_epoch(None, TRAIN_IMAGES)
    return state


def _tensors(state: State) -> dict[str, Tensor]:
    tensors, _ = state.snapshot("a run")
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors().items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("optim", "schedule"),
    [
        (Optim(lr=0.02, clip_norm=0.5), ONECYCLE),
        (Optim(lr=0.02, nesterov=True, clip_value=0.01), ONECYCLE),
        (Optim(lr=0.02, momentum=0.0), Schedule(per="step")),
        (Optim(name="adam", lr=0.001), ONECYCLE),
        (Optim(name="adam", lr=0.001), Schedule()),
        (Optim(lr=0.02, lookahead_k=5), Schedule("cyclic", "step", minimum=0.001, rise=0.5)),
        (Optim("adam", 0.001, lookahead_k=3, lookahead_start="k"), Schedule()),
        (Optim("adamw", 0.001, weight_decay=0.1, decay_biases=False, ema_decay=0.7), ONECYCLE),
        (MUON, Schedule("trapezoid", warmup=0.5)),
    ],
)
def test_recorded_epochs_agree_with_eager_ones(
    files: Files, optim: Optim, schedule: Schedule, precision: str
) -> None:
    runtime = Runtime(compile=False, precision=precision, autotune=False)
    config = _config(files, optim=optim, schedule=schedule, runtime=runtime)
    result: dict[bool, list[float]] = {True: [], False: []}
    for graph, losses in result.items():
        machine = _machine(config, graph=graph)
        state = _train(State(config, machine, open_sets(config, machine.device)), losses)
        assert state.counters.step == EPOCHS * STEPS
    assert result[True] == pytest.approx(result[False], abs=TOLERANCE[precision])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_saves_time_agrees_with_what_it_replaces(files: Files, precision: str) -> None:
    runtime = Runtime(compile=False, precision=precision, autotune=False)
    length = Train(epochs=EPOCHS, batch_size=BATCH, seed=3, label_smoothing=0.1)
    config = _config(files, runtime=runtime, train=length, augment=Augment(mixup=0.5))
    results = []
    for savings in (
        NO_SAVINGS,
        Savings(stem_channels=8, loss_kernel=True, count_together=True, copy_at_once=True),
    ):
        losses: list[float] = []
        machine = _machine(config, savings=savings)
        state = _train(State(config, machine, open_sets(config, machine.device)), losses)
        tensors = {name: each.clone() for name, each in state.snapshot("a run")[0]().items()}
        for name, each in state.network.state_dict().items():
            assert torch.equal(each.cpu(), tensors[f"network.{name}"])
            if name.endswith("num_batches_tracked"):
                assert int(each) == EPOCHS * STEPS
        results.append((losses, {name: each.shape for name, each in tensors.items()}))
    (plain, layout), (saving, same) = results
    assert saving == pytest.approx(plain, abs=TOLERANCE[precision])
    assert same == layout


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_stages_agree_with_eager_ones(files: Files, precision: str) -> None:
    runtime = Runtime(compile=False, precision=precision, autotune=False)
    augment = dataclasses.replace(COLOURED, sizes=(20, 28), sizes_until=(0.3, 0.6))
    length = Train(epochs=EPOCHS, batch_size=BATCH, seed=3, freeze_layers=1, freeze_from=0.8)
    config = _config(
        files, augment=augment, train=length, runtime=runtime, optim=Optim(lr=0.02, lookahead_k=5)
    )
    result: dict[bool, list[float]] = {True: [], False: []}
    for graph, losses in result.items():
        machine = _machine(config, graph=graph)
        _train(State(config, machine, open_sets(config, machine.device)), losses)
    assert result[True] == pytest.approx(result[False], abs=TOLERANCE[precision])


@pytest.mark.parametrize("name", ["", "resnet453", "house94", "se_resnet443"])
def test_recorded_steps_repeat_to_the_bit_in_exact_mode(files: Files, name: str) -> None:
    runtime = Runtime(compile=False, exact=True, precision="fp32")
    named = {"model": Model(name=name, budget=0)} if name else {}
    config = _config(files, runtime=runtime, **named)
    machine = _machine(config)
    assert machine.graph
    runs = [
        _tensors(_train(State(config, machine, open_sets(config, machine.device)), []))
        for _ in range(2)
    ]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(
    ("compiled", "optim"),
    [
        (False, Optim(lr=0.02, clip_norm=1.0, lookahead_k=5)),
        (True, Optim(lr=0.02, clip_norm=1.0, lookahead_k=5)),
        (False, MUON),
        (False, Optim("adamw", 0.001, ema_decay=0.7, ema_every=2, ema_start=0.5)),
    ],
)
def test_an_epoch_never_waits_for_the_device(files: Files, compiled: bool, optim: Optim) -> None:
    config = _config(files, schedule=ONECYCLE, optim=optim)
    machine = _machine(config, compile=compiled, precision="bf16")
    state = State(config, machine, sets := open_sets(config, machine.device))
    for epoch in range(EPOCHS + 1):
        quiet = epoch > 0  # the first compiles and chooses kernels
        torch.cuda.set_sync_debug_mode("error" if quiet else "default")
        for batch in state.epoch(epoch):
            state.advance(batch)
        torch.cuda.set_sync_debug_mode("default")
        state.check()
        assert evaluate(state.network, sets.test, machine, None, state.evaluations) is not None
        state.counters.end_epoch(None, TRAIN_IMAGES)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("mode", ["resident", "stream"])
@pytest.mark.parametrize("augment", [Augment(), Augment(autoaugment=True), COLOURED], ids=str)
def test_no_kind_of_input_waits_for_the_device(
    files: Files, graph: bool, mode: str, augment: Augment
) -> None:
    data = Data(train=str(files.train), test=str(files.test), mode=mode)
    config = _config(files, data=data, augment=augment)
    machine = _machine(config, graph=graph)
    state = State(config, machine, open_sets(config, machine.device))
    for epoch in range(EPOCHS + 1):
        torch.cuda.set_sync_debug_mode("error" if epoch else "default")
        for batch in state.epoch(epoch):
            state.advance(batch)
        torch.cuda.set_sync_debug_mode("default")
        state.check()
        state.counters.end_epoch(None, TRAIN_IMAGES)


@pytest.mark.parametrize("graphed_first", [False, True])
def test_checkpoints_of_recorded_and_eager_steps_continue_each_other(
    files: Files, graphed_first: bool
) -> None:
    config = _config(files, optim=Optim(name="adam", lr=0.001), schedule=ONECYCLE)
    machine = _machine(config)
    sets = open_sets(config, machine.device)
    ways = [dataclasses.replace(machine, graph=graph) for graph in (graphed_first, True, False)]
    whole: list[float] = []
    _train(State(config, ways[0], sets), whole)
    stop = 3 * STEPS + 2
    first = _train(State(config, ways[0], sets), [], stop)
    tensors, facts = first.snapshot("a run")
    saved = Saved({name: t.cpu().contiguous() for name, t in tensors().items()}, facts)
    second = State(config, ways[1 + graphed_first], sets)
    second.restore(saved)
    rest: list[float] = []
    _train(second, rest)
    assert rest == pytest.approx(whole[3:], abs=TOLERANCE["fp32"])


def test_a_recorded_evaluation_agrees_with_an_eager_one(files: Files) -> None:
    config = _config(files)
    machine = _machine(config)
    state = _train(State(config, machine, sets := open_sets(config, machine.device)), [])
    eager = evaluate(state.network, sets.test, machine)
    assert eager is not None
    for _ in range(WARM_UPS + 2):
        result = evaluate(state.network, sets.test, machine, None, state.evaluations)
        assert result is not None
        assert (result.images, result.accuracy) == (eager.images, eager.accuracy)
        assert result.loss == pytest.approx(eager.loss, rel=1e-5)


@pytest.mark.parametrize("moment", [1, STEPS + 3])
def test_a_loss_that_is_not_finite_stops_a_recorded_run_before_the_update(
    files: Files, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    config = _config(files)
    machine = _machine(config)
    real = State.advance
    before: dict[str, Tensor] = {}

    def poisoned(state: State, *rest: Any) -> None:
        if state.counters.step == moment:
            with torch.no_grad():
                state.network.classifier.bias[0] = float("nan")
            before.update({k: p.detach().clone() for k, p in state.network.named_parameters()})
        real(state, *rest)

    monkeypatch.setattr(State, "advance", poisoned)
    state = State(config, machine, open_sets(config, machine.device))
    with pytest.raises(RunFailed, match=f"loss became nan at step {moment + 1} "):
        _train(state, [])
    for name, parameter in state.network.named_parameters():
        assert torch.equal(parameter.nan_to_num(7.0), before[name].nan_to_num(7.0))


def test_a_copy_for_a_checkpoint_is_of_its_moment_and_does_not_wait() -> None:
    recorder = CudaRecorder(torch.device("cuda", 0))
    weights = torch.zeros(1 << 24, device="cuda")
    recorder.to_host({"w": weights})()  # pinned memory is there
    torch.cuda.set_sync_debug_mode("error")
    arriving = []
    for number in range(1, 5):
        weights.fill_(number)
        arriving.append(recorder.to_host({"w": weights}))
    weights.fill_(-1)
    torch.cuda.set_sync_debug_mode("default")
    for number, wait in enumerate(arriving, start=1):
        host = wait()["w"]
        assert host.device.type == "cpu"
        assert (host == number).all()


def test_two_graphs_of_one_recorder_can_alternate() -> None:
    recorder, total = CudaRecorder(torch.device("cuda", 0)), torch.zeros(1000, device="cuda")

    def adding(value: float) -> Any:
        return lambda: total.add_(torch.full((1000,), value, device="cuda").sqrt())

    works = [replay.RecordedWork(recorder, adding(value)) for value in (1.0, 4.0)]
    for number in range(20):
        works[number % 2]()
    assert (total == 30).all()


def _flags(files: Files, root: Path, *more: str) -> list[str]:
    net = "--model.blocks 1,1 --model.widths 16 --train.epochs 5 --train.batch_size 16".split()
    runtime = "--runtime.device cuda --runtime.precision fp32 --runtime.compile false".split()
    where = ["--run.root", str(root), "--run.name", "run", "--runtime.exact"]
    return [*net, *runtime, *files.flags(), *where, *more]


def test_a_run_that_dies_during_a_save_continues_to_the_same_bytes(
    files: Files, tmp_path: Path
) -> None:
    assert run_command(train.main, _flags(files, tmp_path / "whole")) == 0
    whole = outcome(tmp_path / "whole")
    for at in (12, 17, 23):
        flags = _flags(files, tmp_path / str(at))
        with contextlib.suppress(Died), dying(at, Died):
            run_command(train.main, flags)
        assert run_command(train.main, flags) == 0
        assert outcome(tmp_path / str(at)) == whole
