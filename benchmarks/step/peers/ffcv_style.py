"""The loop of FFCV's CIFAR example, on our network: channels_last and mixed precision.

On a GPU that is float16 with a GradScaler, as in the example; on a CPU bfloat16 where the CPU has
bf16 units. It finds its images normalised in memory, in its own layout and type. GradScaler.step
reads back from the device whether a gradient was not finite, so the host waits in every step.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benchmarks.step.peers import Workload
from benchmarks.step.peers.plain_loop import Plain
from engine.step.device import has_bf16_units


class FfcvStyle(Plain):
    """The example's step: the loss is not read back, as the example does not."""

    name = "FFCV-style loop"

    def __init__(self, workload: Workload) -> None:
        self._dtype = _dtype(torch.device(workload.device))
        super().__init__(workload, self._dtype, torch.channels_last)
        scales = self._dtype == torch.float16
        self._scaler = torch.amp.grad_scaler.GradScaler(self.device.type, enabled=scales)
        self.setting += ", a GradScaler that reads back in every step" if scales else ""

    def step(self) -> int:
        """Forward, backward, update."""
        images, labels = next(self._batches)
        self._optimizer.zero_grad(set_to_none=True)
        mixed = self._dtype != torch.float32
        with torch.autocast(self.device.type, self._dtype if mixed else None, enabled=mixed):
            loss = cross_entropy(self._network(images), labels)
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return len(labels)


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_bf16_units(device) else torch.float32
