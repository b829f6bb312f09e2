"""Loss and end of a step by kernels: as torch's operations compute them, in few launches.

On a GPU, where there is one; and (slow) by Triton's interpreter, in a process of its own. Without
either, Triton compiles them for a GPU that is not there.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.model import ResNet, Variant
from engine.model.norm import count_together, share
from engine.optim.schedules import Rates
from engine.step import loss_on_gpu
from engine.step.device import Machine, Savings
from engine.step.loss_on_gpu import Flags, Loss
from engine.step.ranks import ALONE, Ranks
from engine.step.totals import Mix, Totals
from engine.step.training import TrainingStep
from tests.support import loss_reference
from tests.support.operations import Operations
from tests.support.pretend_gpu import compiled_for_a_gpu
from tests.support.processes import interpreted
from tests.support.ranks import in_threads, ranks_of

pytest.importorskip("triton", reason="Triton is not installed")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
WAYS = ["cpu"] if INTERPRETED else [CUDA]
CPU = torch.device("cpu")
INVALID = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter


@pytest.fixture(params=WAYS)
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def _labels(count: int, classes: int, device: torch.device) -> Tensor:
    return torch.randint(classes, (count,)).to(device)


@pytest.mark.parametrize("shares", [None, "one", "of each image"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("count", "classes", "dtype"),
    [
        (128, 10, torch.bfloat16),
        (130, 10, torch.float32),
        (7, 100, torch.float32),
        (3, 1000, torch.float32),
        (2, 2, torch.bfloat16),
    ],
)
def test_loss_gradient_and_right_answers_are_those_of_torch(
    device: torch.device,
    count: int,
    classes: int,
    dtype: torch.dtype,
    smoothing: float,
    shares: str | None,
) -> None:
    torch.manual_seed(count)
    logits = (torch.randn(count, classes) * 4).to(device, dtype)
    mix = None
    if shares is not None:
        share = torch.rand(() if shares == "one" else (count,)).to(device)
        mix = Mix(_labels(count, classes, device), share)
    labels = _labels(count, classes, device)
    labels[: count // 2] = logits[: count // 2].argmax(1)  # some are right
    result = loss_on_gpu.softmax_loss(logits, labels, smoothing, mix, 0.5)
    expected = loss_reference.softmax_loss(logits, labels, smoothing, mix, 0.5)
    torch.testing.assert_close(result.sums.sum(1), expected.sums.sum(1), rtol=2e-6, atol=0)
    # The interpreter cuts bfloat16 off where the GPU rounds it.
    unit = torch.finfo(dtype).eps if dtype is torch.bfloat16 else 1e-5
    torch.testing.assert_close(result.gradient, expected.gradient, rtol=unit, atol=1e-8)
    assert result.check.tolist() == [0, 1]


def test_equal_logits_count_as_the_lowest_class(device: torch.device) -> None:
    logits = torch.zeros(4, 10, device=device)
    labels = torch.tensor([0, 1, 9, 0], device=device)
    assert float(loss_on_gpu.softmax_loss(logits, labels).sums[1].sum()) == 2


@INVALID
def test_the_first_step_that_is_not_finite_stops_all_updates(device: torch.device) -> None:
    flags = Flags(torch.tensor(-1, device=device), torch.zeros((), device=device))
    totals = Totals(device)
    logits, labels = torch.randn(5, 10, device=device), _labels(5, 10, device)
    for number, (scale, found, stops, first) in enumerate(
        [
            (1.0, 0.0, False, -1),
            (1.0, 0.0, False, -1),
            (1.0, 1.0, True, 2),  # a gradient
            (1.0, 0.0, True, 2),
            (float("nan"), 0.0, True, 2),  # the loss
        ]
    ):
        loss = loss_on_gpu.softmax_loss(logits * scale, labels)
        loss.check[0] = found
        place = torch.tensor(number, device=device) if number % 2 else number
        skip, skipped = loss_on_gpu.end_of_step(loss, place, flags, totals, 5)
        assert (bool(skip), float(skipped)) == (stops, float(stops))
        assert int(flags.step) == first
        if number == 3:
            right = loss_reference.softmax_loss(logits, labels).sums[:, 0].double().tolist()
            assert float(totals.loss) == pytest.approx(4 * 5 * right[0])
            assert int(totals.correct) == 4 * right[1]
    assert float(flags.loss) == pytest.approx(right[0])
    assert not torch.isfinite(totals.loss)


@INVALID
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_found(device: torch.device, value: float) -> None:
    flags = Flags(torch.tensor(-1, device=device), torch.zeros((), device=device))
    logits = torch.randn(200, 10, device=device)
    logits[150, 3] = value
    labels = torch.full((200,), 3, device=device)
    loss = loss_on_gpu.softmax_loss(logits, labels)
    loss_on_gpu.end_of_step(loss, 8, flags, Totals(device), 200)
    assert int(flags.step) == 8


def test_a_gradient_that_is_not_finite_is_found_and_none_is_changed() -> None:
    gradients = [torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last), torch.randn(7)]
    before = [each.clone() for each in gradients]
    loss = Loss(torch.zeros(1), torch.zeros(2, 1), torch.tensor([0.0, 1.0]))
    loss_on_gpu.check(loss, gradients)
    assert loss.check.tolist() == [0, 1]
    assert all(map(torch.equal, gradients, before))
    gradients[1][3] = float("inf")
    loss_on_gpu.check(loss, gradients)
    assert loss.check.tolist() == [1, 1]


@pytest.mark.skipif(INTERPRETED, reason="it compiles")
def test_they_compile_for_a_gpu_once_for_all_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from engine.step import loss_kernel

    launched = {
        name: compiled_for_a_gpu(monkeypatch, loss_kernel, name, tmp_path)
        for name in ("softmax_loss", "end_of_step")
    }
    flags, totals = Flags(torch.tensor(-1), torch.zeros(())), Totals(CPU)
    places = torch.arange(9)
    for count in (1, 16, 100):
        logits = torch.zeros(count, 10, dtype=torch.bfloat16)
        labels = torch.zeros(count + 1, dtype=torch.int64)[1:]  # aligned to 8 bytes
        loss = loss_on_gpu.softmax_loss(logits, labels, 0.1)
        loss_on_gpu.end_of_step(loss, places[count % 9], flags, totals, count)
    assert {name: len(kernels()) for name, kernels in launched.items()} == {
        "softmax_loss": 1,
        "end_of_step": 1,
    }


def _step(savings: Savings, ranks: Ranks = ALONE) -> TrainingStep:
    torch.manual_seed(0)
    network = ResNet(Variant((2, 2), (8, 16)))
    if ranks.count > 1:
        share(network, ranks)
    if savings.count_together:
        count_together(network)
    machine = Machine(CPU, "fp32", False, savings=savings)
    return TrainingStep(network, Optim(), machine, ranks=ranks)


def test_the_end_of_a_step_takes_few_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    batch = Batch(torch.randn(8, 3, 32, 32), torch.randint(10, (8,)))
    counts = []
    for savings in (Savings(), Savings(loss_kernel=True, count_together=True)):
        step = _step(savings)
        with Operations() as operations, monkeypatch.context() as patch:
            loss_reference.install(patch, operations.as_kernel)
            step(batch, Rates(0.1, 0.9), 0)
        counts.append(operations.counts)
    before, after = counts
    assert after - before == {
        "kernel": 2,
        "aten._amp_foreach_non_finite_check_and_unscale_.default": 1,
        "aten._foreach_add_.Scalar": 1,
    }
    gone = before - after
    norms = 10
    assert gone["aten.add_.Tensor"] == norms + 2  # their counts, and the sums
    assert sum(gone.values()) > norms + 30


def test_several_ranks_have_the_same_bits_with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    loss_reference.install(monkeypatch)
    torch.manual_seed(1)
    images, labels = torch.randn(7, 3, 32, 32), torch.randint(10, (7,))
    results = []
    for savings in (Savings(), Savings(loss_kernel=True, count_together=True)):
        ranks = ranks_of(2)

        def train(rank: Ranks, step: TrainingStep) -> list[Tensor]:
            part = slice(rank.number, None, rank.count)
            for number in range(3):
                batch = Batch(images[part], labels[part])
                step(batch, Rates(0.1, 0.9), number, images=len(labels))
            return [*step.network.state_dict().values(), step.totals.loss, step.totals.correct]

        works = [partial(train, rank, _step(savings, rank)) for rank in ranks]
        results += in_threads(works, ranks)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="this is its process")
def test_tritons_interpreter_gives_the_same(tmp_path: Path) -> None:
    output = interpreted(__file__, tmp_path)
    assert re.search(r"\b3[5-9] passed", output)
