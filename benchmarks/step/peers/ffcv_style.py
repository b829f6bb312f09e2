"""The loop of FFCV's CIFAR example, on our network: channels_last and mixed precision.

On a GPU that is float16 with a GradScaler, as in the example; on a CPU bfloat16 where the CPU has
bf16 units. It finds its images normalised in memory, in its own layout and type.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.step.peers import Workload, usual_switches, usual_warm_up
from benchmarks.step.peers.plain_loop import network_of, ready_batches, sgd
from engine.step.device import has_bf16_units


class FfcvStyle:
    """The example's step: nothing is read back from the device."""

    name = "FFCV-style loop"

    def __init__(self, workload: Workload) -> None:
        self.device = torch.device(workload.device)
        self.switches = usual_switches(workload.threads)
        self.warm_up = usual_warm_up(self.device)
        self._dtype = _dtype(self.device)
        self.setting = f"{_name(self._dtype)}, channels_last, eager, SGD, images ready in memory"
        layout = torch.channels_last
        network: Any = network_of(workload)
        self._network = network.to(self.device, memory_format=layout)
        self._optimizer = sgd(self._network)
        scales = self._dtype == torch.float16
        self._scaler = torch.amp.grad_scaler.GradScaler(self.device.type) if scales else None
        self._batches = ready_batches(workload, self.device, self._dtype, layout)

    def step(self) -> int:
        """Forward, backward, update."""
        images, labels = next(self._batches)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = cross_entropy(self._network(images), labels)
        if self._scaler is None:
            torch.autograd.backward(loss)
            self._optimizer.step()
            return len(labels)
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return len(labels)

    def close(self) -> None:
        """Free the network and the images."""
        del self._network, self._optimizer, self._batches
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _autocast(self) -> Any:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_bf16_units(device) else torch.float32


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
