"""The step of whole networks on fake CUDA tensors, which have a device and no memory.

Within a recorded step a tensor of the host would be a constant of the graph, and one that the host
reads would end the recording; here both are errors without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.config.schema import Model, Optim
from engine.data.loader import Batch
from engine.model import ResNet, resolve
from engine.model.norm import count_together
from engine.optim.optimizer import DeviceRates
from engine.optim.stages import WHOLE, Stage
from engine.step.device import NO_SAVINGS, Machine, Savings
from engine.step.mixing import Mixing
from engine.step.training import TrainingStep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # torch imports much for fake tensors
GPU = torch.device("cuda", 0)
BATCH = 8
SGD = Optim(clip_norm=1.0, lookahead_k=5)
MUON = Optim(
    "muon", nesterov=True, norm_lr=0.2, head_lr=0.1, rest_lr=0.1, lookahead_k=3,
    lookahead_power=2.0, lookahead_buffers=True,
)  # fmt: skip
ADAMW = Optim("adamw", weight_decay=0.1, decay_biases=False, clip_value=0.1, ema_decay=0.9)


class OnTheGpu(TorchDispatchMode):
    """Refuses tensors of the host; fake tensors themselves have no value to be read."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, Tensor):
                assert each.device.type == "cuda", f"{func} of a tensor of the host"
        if func._schema.name.startswith("aten::_fused_"):  # torch has no fake one with a rate there
            return None
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with FakeTensorMode():
        yield


def _network(name: str) -> ResNet:
    with GPU:
        network = ResNet(resolve(Model(name=name)), 10)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=GPU)


def _queue(step: TrainingStep, monkeypatch: pytest.MonkeyPatch, mixed: bool, stage: Stage) -> None:
    """The device's part of a step; torch cannot differentiate fake CUDA tensors without a GPU."""
    differentiated: list[Tensor] = []

    def backward(scaled: Tensor) -> None:
        differentiated.append(scaled)
        for parameter in step.network.parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(torch.autograd, "backward", backward)
    images = _zeros(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, _zeros(BATCH, dtype=torch.int64))
    number, rates = _zeros(dtype=torch.int64), DeviceRates(_zeros(), _zeros(), _zeros())
    row = _zeros(len(Mixing._fields)) if mixed else None
    step.begin(stage)
    with OnTheGpu():
        step.queue(batch, rates, number, row)
    (loss,) = differentiated
    assert loss.requires_grad and loss.device == GPU and loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "optim", "precision", "mixed", "stage", "savings"),
    [
        ("resnet453", SGD, "bf16", False, WHOLE, NO_SAVINGS),
        ("resnet453", SGD, "fp16", True, Stage(24, 1), Savings(count_together=True)),
        ("house94", MUON, "bf16", False, Stage(24, 0, True), Savings(stem_channels=8)),
        ("se_resnet443", ADAMW, "fp32", True, WHOLE, NO_SAVINGS),
    ],
)
def test_a_recorded_step_has_all_it_needs_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    optim: Optim,
    precision: str,
    mixed: bool,
    stage: Stage,
    savings: Savings,
) -> None:
    network = _network(name)
    network.pad_stem(savings.stem_channels)
    if savings.count_together:
        count_together(network)
    machine = Machine(GPU, precision, compile=False, graph=True, savings=savings)
    step = TrainingStep(network, optim, machine, cycles=True, smoothing=0.1, steps=100)
    _queue(step, monkeypatch, mixed, stage)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda loss: loss * torch.tensor(2.0), AssertionError),
        (lambda loss: loss * float(loss), DataDependentOutputException),
    ],
    ids=["a constant of the host", "a value that is read"],
)
def test_a_step_that_uses_the_host_is_refused(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[Tensor], Tensor], error: type[Exception]
) -> None:
    machine = Machine(GPU, "bf16", compile=False, graph=True)
    step = TrainingStep(_network("resnet11"), SGD, machine, steps=100)
    real = TrainingStep._check
    monkeypatch.setattr(TrainingStep, "_check", lambda step, loss, at: real(step, fault(loss), at))
    with pytest.raises(error):
        _queue(step, monkeypatch, False, WHOLE)
