"""Recorded steps: the same bits as eager steps, for every setting and from every starting step.

The whole path of a GPU runs here on the CPU, by a recorder that refuses what a graph cannot do.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import train
from engine.config.schema import Augment, Config, Data, Model, Optim, Schedule, Train
from engine.data.sets import DataSets, open_sets
from engine.errors import RunFailed, run_command
from engine.model import ResNet
from engine.runs.checkpoint import Saved
from engine.runs.run import Run
from engine.runs.state import State
from engine.step import compiled, replay
from engine.step.device import NO_SAVINGS, Machine, Savings
from engine.step.evaluation import Evaluations, evaluate
from engine.step.replay import WARM_UPS, RecordedWork
from tests.support import loss_reference
from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files
from tests.support.recording_device import FakeRecorder, install
from tests.support.runs import exact_flags

CPU = torch.device("cpu")
BATCH = 16
STEPS = -(-TRAIN_IMAGES // BATCH)
EPOCHS = WARM_UPS + 2  # the short last batch comes once an epoch
LENGTH = Train(epochs=EPOCHS, batch_size=BATCH, seed=3, evaluate_batch_size=BATCH)
ONECYCLE = Schedule(name="onecycle")
MIXED = Augment(mixup=1.0, cutmix=0.5, cutout=8)
COLOURED = Augment(cutout=8, cutout_fill="mean", erasing=0.5, contrast=0.2, saturation=0.3)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> FakeRecorder:
    return install(monkeypatch)


def _config(files: Files, **sections: Any) -> Config:
    net = {"model": Model(blocks=(1, 1), widths=(4,), se="stem", se_reduction=2)}
    data = {"data": Data(train=str(files.train), test=str(files.test))}
    return Config(**(data | net | {"train": LENGTH} | sections))


def _machine(precision: str = "fp32") -> Machine:
    return Machine(CPU, precision, compile=False)


Losses = list[float]


def _train(state: State, losses: Losses, until: int = EPOCHS * STEPS) -> State:
    """Steps to the `until`-th of the run; the sum of losses after each goes to `losses`."""
    counters = state.counters
    for epoch in range(counters.epoch, state.epochs):
        for batch in state.epoch(epoch, skip=counters.step_in_epoch):
            if counters.step == until:
                return state
            state.advance(batch)
            losses.append(float(state.step.totals.loss))
        counters.end_epoch(None, TRAIN_IMAGES)
    return state


def _all(state: State) -> dict[str, Tensor]:
    tensors, facts = state.snapshot("a run")
    counted = {"images": state.step.totals.images, "trace": state.counters.trace}
    assert facts["counters"]["trace"] == counted["trace"]
    return {name: tensor.clone() for name, tensor in tensors().items()}


def test_a_snapshot_of_a_state_that_is_not_finite_is_refused_when_its_copy_arrives(
    files: Files, recorder: FakeRecorder
) -> None:
    config = _config(files)
    state = _train(State(config, _machine(), open_sets(config, CPU)), [], STEPS)
    with torch.no_grad():
        next(state.network.parameters())[0, 0, 0, 0] = -torch.inf
    tensors, _ = state.snapshot("a run")  # which waits for nothing
    with pytest.raises(RunFailed, match="the weights are not finite after step 5 "):
        tensors()


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    equal = all(torch.equal(one[name], other[name]) for name in one)
    return one.keys() == other.keys() and equal


def _both(
    config: Config, machine: Machine, use: Callable[[State, DataSets], Any]
) -> tuple[Any, Any]:
    """`use` of a state with eager steps, and of one with recorded steps."""
    sets = open_sets(config, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "recorder_for", lambda machine: None)
        eager = use(State(config, machine, sets), sets)
    return eager, use(State(config, machine, sets), sets)


MUON = Optim(
    "muon", 0.05, 0.6, nesterov=True, norm_lr=0.2, head_lr=0.1, rest_lr=0.1, lookahead_k=3,
    lookahead_power=2.0, lookahead_buffers=True, lookahead_end="slow",
)  # fmt: skip
RECIPES = [
    (Optim(clip_norm=0.5), ONECYCLE),
    (Optim("adam", 0.01, lookahead_k=3, lookahead_start="k"), Schedule("restarts", period=2)),
    (Optim(nesterov=True, clip_value=0.01), ONECYCLE),
    (Optim(momentum=0.0), Schedule(per="step")),
    (Optim(name="adam", lr=0.01), ONECYCLE),
    (Optim(name="adam", lr=0.01, clip_norm=0.5), Schedule()),
    (Optim(lookahead_k=5, clip_value=0.1), Schedule("cyclic", "step", minimum=0.001, rise=0.5)),
    (Optim("adamw", 0.01, weight_decay=0.1, decay_biases=False, ema_decay=0.7), ONECYCLE),
    (MUON, Schedule("trapezoid", warmup=0.5)),
]


@pytest.mark.parametrize(
    ("optim", "schedule", "precision"),
    [
        *((*recipe, "fp32") for recipe in RECIPES),
        *((*recipe, precision) for recipe in RECIPES[:1] for precision in ("bf16", "fp16")),
        *(
            pytest.param(*recipe, precision, marks=pytest.mark.slow)
            for recipe in RECIPES[1:]
            for precision in ("bf16", "fp16")
        ),
    ],
)
def test_recorded_epochs_equal_eager_ones_to_the_bit(
    files: Files, recorder: FakeRecorder, optim: Optim, schedule: Schedule, precision: str
) -> None:
    config = _config(files, optim=optim, schedule=schedule)

    def use(state: State, sets: DataSets) -> tuple[Losses, dict[str, Tensor]]:
        losses: Losses = []
        return losses, _all(_train(state, losses))

    (eager, expected), (graphed, result) = _both(config, _machine(precision), use)
    assert graphed == eager
    assert len(set(graphed)) == EPOCHS * STEPS
    assert _same(result, expected)
    whole, short = recorder.graphs
    assert whole.replays == EPOCHS * (STEPS - 1) - WARM_UPS
    assert short.replays == EPOCHS - WARM_UPS


@pytest.mark.parametrize(
    ("sections", "precision"),
    [
        ({"train": dataclasses.replace(LENGTH, label_smoothing=0.2)}, "bf16"),
        pytest.param(
            {"augment": MIXED, "optim": Optim(clip_norm=0.5, ema_decay=0.7)},
            "fp32",
            marks=pytest.mark.slow,
        ),
        pytest.param({}, "fp16", marks=pytest.mark.slow),
    ],
)
def test_the_kernels_of_a_gpu_change_no_bit_but_by_their_own_rounding(
    files: Files,
    recorder: FakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    precision: str,
) -> None:
    """With stand-ins for the kernels, which round as torch does."""
    loss_reference.install(monkeypatch)
    config = _config(files, **sections)
    sets = open_sets(config, CPU)
    savings = Savings(loss_kernel=True, count_together=True, copy_at_once=True)
    losses: tuple[Losses, Losses] = [], []
    machines = [_machine(precision), dataclasses.replace(_machine(precision), savings=savings)]
    plain, saving = (State(config, machine, sets) for machine in machines)
    for state, own in zip((plain, saving), losses, strict=True):
        _train(state, own)
    assert losses[0] == losses[1]
    one, other = _all(plain), _all(saving)
    assert _same(one, other)
    counts = [value for name, value in other.items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {EPOCHS * STEPS}
    # and each continues the other's checkpoint
    for machine, tensors in ((machines[0], other), (machines[1], one)):
        fresh = State(config, machine, sets)
        fresh.restore(Saved(tensors, plain.snapshot("a run")[1]))
        assert _same(_all(fresh), tensors)


@pytest.mark.parametrize(
    "optim",
    [
        pytest.param(Optim(lr=0.01), marks=pytest.mark.slow),
        pytest.param(Optim(name="adam", lr=0.01), marks=pytest.mark.slow),
        pytest.param(Optim(lr=0.01, lookahead_k=3), marks=pytest.mark.slow),
        pytest.param(MUON, marks=pytest.mark.slow),
        pytest.param(
            Optim("adamw", 0.01, ema_decay=0.7, ema_every=2, ema_start=0.2), marks=pytest.mark.slow
        ),
        Optim(name="adam", lr=0.01, lookahead_k=4, lookahead_start="k"),
    ],
    ids=["sgd", "adam", "sgd, lookahead", "muon, lookahead", "adamw, ema", "adam, lookahead"],
)
@pytest.mark.parametrize("graphed_first", [False, True])
def test_checkpoints_of_recorded_and_eager_steps_continue_each_other(
    files: Files, recorder: FakeRecorder, optim: Optim, graphed_first: bool
) -> None:
    config = _config(files, optim=optim, schedule=ONECYCLE)
    sets = open_sets(config, CPU)
    ways = [lambda machine: None, lambda machine: recorder]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "recorder_for", ways[0])
        whole: Losses = []
        expected = _all(_train(State(config, _machine(), sets), whole))
        for stop in (0, STEPS + 2, 3 * STEPS, 4 * STEPS + 3):
            losses: Losses = []
            patch.setattr(replay, "recorder_for", ways[graphed_first])
            first = _train(State(config, _machine(), sets), losses, stop)
            tensors, facts = first.snapshot("a run")
            saved = Saved({k: v.clone().contiguous() for k, v in tensors().items()}, facts)
            patch.setattr(replay, "recorder_for", ways[not graphed_first])
            second = State(config, _machine(), sets)
            second.restore(saved)
            assert _same(_all(_train(second, losses)), expected), f"stopped after {stop}"
            assert losses == whole, f"stopped after {stop}"


@pytest.mark.parametrize(
    ("sections", "mode"),
    [
        ({"augment": Augment(flip="alternating", padding_mode="reflect", cutout=8)}, "resident"),
        ({"augment": Augment(flip="alternating", padding_mode="reflect", cutout=8)}, "stream"),
        ({"augment": COLOURED}, "resident"),
        ({"augment": MIXED}, "resident"),
        ({"augment": MIXED}, "stream"),
        ({"augment": dataclasses.replace(COLOURED, autoaugment=True)}, "stream"),
        ({"augment": Augment(autoaugment=True)}, "resident"),
        ({"augment": Augment(autoaugment=True)}, "stream"),
        (
            {"model": Model(blocks=(1,), widths=(4,), dropout=0.3, dropout_place="block")},
            "resident",
        ),
        (
            {"model": Model(blocks=(1,), widths=(4,), dropout=0.3, dropout_place="classifier")},
            "resident",
        ),
        (
            {"model": Model("house94", (1,), (4,), init="dirac", classifier_std=1.0)},
            "stream",
        ),
    ],
)
def test_recorded_steps_augment_and_drop_out_as_eager_ones(
    files: Files, recorder: FakeRecorder, sections: dict[str, Any], mode: str
) -> None:
    config = _config(files, **sections)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, mode=mode))

    def use(state: State, sets: DataSets) -> dict[str, Tensor]:
        return _all(_train(state, []))

    expected, result = _both(config, _machine(), use)
    assert _same(result, expected)
    assert len(recorder.graphs) == 2


@pytest.mark.parametrize(
    ("precision", "optim"),
    [
        ("fp32", Optim(lookahead_k=3, stem_bias_epochs=EPOCHS * 0.5, decay_biases=False)),
        ("bf16", Optim("adam", 0.01)),
        pytest.param("fp32", Optim("muon", 0.01), marks=pytest.mark.slow),
    ],
)
def test_each_stage_of_a_run_is_recorded_once_and_equals_eager_steps(
    files: Files, recorder: FakeRecorder, precision: str, optim: Optim
) -> None:
    length = Train(epochs=EPOCHS, batch_size=BATCH, seed=3, drop_last=True)
    frozen = dataclasses.replace(length, freeze_layers=1, freeze_from=0.8)
    stages = Augment(sizes=(20, 28), sizes_until=(0.3, 0.5), mixup=0.4)
    whiten = {"stem": "whiten", "stem_kernel": 2}
    config = _config(
        files,
        model=Model(blocks=(1, 1), widths=(4,), transition="pool", **whiten),
        train=frozen,
        augment=stages,
        optim=optim,
    )

    def use(state: State, sets: DataSets) -> tuple[Losses, dict[str, Tensor]]:
        losses: Losses = []
        return losses, _all(_train(state, losses))

    (eager, expected), (graphed, result) = _both(config, _machine(precision), use)
    assert graphed == eager
    assert len(eager) == EPOCHS * (TRAIN_IMAGES // BATCH)
    assert _same(result, expected)
    assert len(recorder.graphs) == 4  # 20, 28, 32 pixels with the stem frozen, a layer too


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_last_epoch_that_is_a_part_is_recorded_like_the_others(
    files: Files, recorder: FakeRecorder, mode: str
) -> None:
    config = _config(files, train=Train(epochs=2.5, batch_size=BATCH, seed=3), schedule=ONECYCLE)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, mode=mode))

    def use(state: State, sets: DataSets) -> tuple[int, Losses, dict[str, Tensor]]:
        losses: Losses = []
        _train(state, losses)
        assert state.epochs == 3
        return state.counters.step, losses, _all(state)

    eager, recorded = _both(config, _machine(), use)
    assert eager[:2] == recorded[:2]
    assert eager[0] == round(2.5 * STEPS)
    assert _same(eager[2], recorded[2])


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_recorded_evaluation_counts_each_image_once(
    files: Files, recorder: FakeRecorder, channels_last: bool
) -> None:
    def use(state: State, sets: DataSets) -> list[Any]:
        _train(state, [], until=3)
        return [
            evaluate(state.network, loader, machine, None, state.evaluations)
            for _ in range(WARM_UPS + 2)
            for loader in (sets.test, sets.watched)
        ]

    machine = dataclasses.replace(_machine("bf16"), channels_last=channels_last)
    config = _config(files)
    held_out = dataclasses.replace(config.data, validation=20.0)
    config = dataclasses.replace(config, data=held_out)
    expected, result = _both(config, machine, use)
    assert result == expected
    assert [each.images for each in result[:2]] == [TEST_IMAGES, 20]
    assert len(recorder.graphs) == 4  # a whole and a short batch of each set


def test_whole_batches_of_an_evaluation_are_compiled_where_wanted(
    files: Files, recorder: FakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[int] = []

    def forward(network: ResNet, machine: Machine) -> Callable[[Tensor], Tensor]:
        def call(images: Tensor) -> Tensor:
            shapes.append(len(images))
            return network(images)

        return call if machine.compile else network

    monkeypatch.setattr(compiled, "forward", forward)
    config = _config(files)
    sets = open_sets(config, CPU)
    results = []
    for machine in (
        _machine(),
        dataclasses.replace(_machine(), compile=True),
        dataclasses.replace(_machine(), compile=True, savings=Savings(compile_evaluation=True)),
    ):
        network = State(config, machine, sets).network
        graphs = Evaluations(network, machine, recorder)
        results.append(evaluate(network, sets.test, machine, None, graphs))
        assert bool(shapes) == machine.savings.compile_evaluation
    assert results[0] == results[1] == results[2]
    assert set(shapes) == {BATCH}  # the short last one is not


def test_a_stopped_evaluation_starts_again_from_zero(files: Files, recorder: FakeRecorder) -> None:
    class Stop:
        requested = True

    def use(state: State, sets: DataSets) -> list[Any]:
        return [
            evaluate(state.network, sets.test, _machine(), stop, state.evaluations)
            for stop in (None, Stop(), None)
        ]

    expected, result = _both(_config(files), _machine(), use)
    assert result == expected
    assert result[0] == result[2]
    assert result[1] is None


@pytest.mark.parametrize(
    ("moment", "savings"),
    [(1, NO_SAVINGS), (STEPS + 3, NO_SAVINGS), (1, Savings(loss_kernel=True))],
)
def test_a_loss_that_is_not_finite_stops_a_recorded_run_before_the_update(
    files: Files,
    recorder: FakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
    savings: Savings,
) -> None:
    loss_reference.install(monkeypatch)
    config = _config(files)
    real = State.advance
    before: dict[str, Tensor] = {}

    def poisoned(state: State, *rest: Any) -> None:
        if state.counters.step == moment:
            with torch.no_grad():
                state.network.classifier.bias[0] = float("nan")
            before.update({k: p.detach().clone() for k, p in state.network.named_parameters()})
        real(state, *rest)

    monkeypatch.setattr(State, "advance", poisoned)
    machine = dataclasses.replace(_machine(), savings=savings)
    state = State(config, machine, open_sets(config, CPU))
    with pytest.raises(RunFailed, match=f"loss became nan at step {moment + 1} "):
        _train(state, [])
    for name, parameter in state.network.named_parameters():
        assert torch.equal(parameter.nan_to_num(7.0), before[name].nan_to_num(7.0))


@pytest.mark.parametrize("failure", [None, RuntimeError])
def test_a_run_frees_its_graphs_at_its_end(
    files: Files,
    tmp_path: Path,
    recorder: FakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[Exception] | None,
) -> None:
    if failure is not None:
        monkeypatch.setattr(Run, "finish", lambda *rest: (_ for _ in ()).throw(failure))
    flags = exact_flags(files, tmp_path, 4, BATCH)
    with pytest.raises(failure) if failure is not None else contextlib.nullcontext():
        assert run_command(train.main, flags) == 0
    assert len(recorder.graphs) == 3  # a whole and a short batch, and an evaluation
    assert all(graph.freed for graph in recorder.graphs)


def test_the_next_epoch_is_drawn_when_the_last_batch_is_out(
    files: Files, recorder: FakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(files)
    sets = open_sets(config, CPU)
    drawn: list[int] = []
    real = type(sets.train).ids

    def ids(loader: Any, epoch: int) -> Any:
        drawn.append(epoch)
        return real(loader, epoch)

    monkeypatch.setattr(type(sets.train), "ids", ids)
    state = State(config, _machine(), sets)
    for epoch in range(3):
        assert len(list(state.epoch(epoch))) == STEPS
        assert drawn == list(range(epoch + 2))


# What the recorder itself refuses: without this, the tests above would prove nothing.


def _recorded(recorder: FakeRecorder, work: Callable[[], None], times: int = WARM_UPS + 3) -> None:
    recorded = RecordedWork(recorder, work)
    for _ in range(times):
        recorded()


def test_work_is_warmed_up_then_recorded_once_and_each_call_counts_once() -> None:
    recorder, total = FakeRecorder(), torch.zeros(())
    calls = []

    def work() -> None:
        calls.append(None)
        total.add_(1)

    _recorded(recorder, work, WARM_UPS)
    assert not recorder.graphs
    _recorded(recorder := FakeRecorder(), work, 10)
    assert float(total) == WARM_UPS + 10
    assert len(calls) == WARM_UPS + 10 + 1  # recording runs the code and computes nothing
    assert [graph.replays for graph in recorder.graphs] == [10 - WARM_UPS]


def test_work_that_was_not_warmed_up_is_not_recorded() -> None:
    with pytest.raises(AssertionError, match="before it was warmed up"):
        FakeRecorder().capture(lambda: None)


@pytest.mark.parametrize("read", [float, bool, Tensor.item, Tensor.nonzero])
def test_work_that_reads_a_tensor_on_the_host_is_refused(read: Callable[[Tensor], Any]) -> None:
    given = torch.ones(())
    with pytest.raises(AssertionError, match="the host reads a tensor"):
        _recorded(FakeRecorder(), lambda: read(given + 1))


def test_work_on_new_memory_is_refused() -> None:
    total, held = torch.zeros(3), []

    def work() -> None:
        total.add_(held[-1])

    recorded = RecordedWork(FakeRecorder(), work)
    held.append(torch.ones(3))
    for _ in range(WARM_UPS + 2):
        recorded()
    held.append(torch.ones(3))
    with pytest.raises(AssertionError, match="memory that was not there"):
        recorded()


def test_the_cpu_has_no_recorder() -> None:
    assert replay.recorder_for(dataclasses.replace(_machine(), graph=True)) is None
