"""The house recipe's optimizer equals a plain writing of the recipe that it descends from.

That one sums the loss over a batch of B images where this one takes the mean, so its rates are
multiplied by B here and its weight decays divided by it, as the docs say.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.config.schema import Config, Optim, Schedule, Train
from engine.data.loader import Batch
from engine.model import ResNet, Variant
from engine.optim.schedules import rates
from engine.optim.stages import stage
from engine.step.device import Machine
from engine.step.training import TrainingStep

EPOCHS, PER_EPOCH, BATCH = 6, 10, 16
STEPS = EPOCHS * PER_EPOCH
BIAS_LR, HEAD_LR, MUON_LR, DECAY, STEM_EPOCHS = 0.005, 0.02, 0.1, 2e-4 * BATCH, 3
VARIANT = Variant(
    (1, 0),
    (6,),
    stem="whiten",
    stem_kernel=2,
    transition="pool",
    activation="gelu",
    norm_scale=False,
    norm_eps=1e-12,
    norm_momentum=0.4,
    pool_kind="max",
    classifier_bias=False,
    logit_scale=0.25,
)


def _network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(VARIANT, side=12).double()


def _batches() -> list[Batch]:
    random = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.randn(BATCH, 3, 12, 12, generator=random, dtype=torch.float64),
            torch.randint(0, 10, (BATCH,), generator=random),
        )
        for _ in range(STEPS)
    ]


def _orthogonal(matrix: Tensor) -> Tensor:
    norm = matrix.norm() + 1e-7 * BATCH  # of the mean; without it, rounding grows over the steps
    left, values, right = torch.linalg.svd(matrix / norm, full_matrices=False)
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ values.diag() @ right


def _plain() -> ResNet:
    network = _network().train()
    stem, norms, filters, velocities = [], [], [], {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.dim() == 4:
            filters.append(parameter)
            velocities[parameter] = torch.zeros_like(parameter)
        elif parameter.requires_grad and name.startswith("stem."):
            stem.append(parameter)
        elif parameter.requires_grad and parameter.dim() == 1:
            norms.append(parameter)
    head = [network.classifier.weight]
    assert (len(stem), len(filters), len(norms)) == (1, 4, 4)
    sgd = torch.optim.SGD(
        [
            {"params": stem, "lr": BIAS_LR, "weight_decay": DECAY / BIAS_LR},
            {"params": norms, "lr": BIAS_LR, "weight_decay": DECAY / BIAS_LR},
            {"params": head, "lr": HEAD_LR, "weight_decay": DECAY / HEAD_LR},
        ],
        momentum=0.85,
        nesterov=True,
    )
    highest = [group["lr"] for group in sgd.param_groups]
    slow = {k: v.clone() for k, v in network.state_dict().items() if v.is_floating_point()}
    for step, (images, labels) in enumerate(_batches()):
        network.zero_grad()
        loss = F.cross_entropy(network(images), labels, label_smoothing=0.2, reduction="sum")
        loss.backward()
        if step >= STEM_EPOCHS * PER_EPOCH:
            stem[0].grad = None
        lengths = [STEM_EPOCHS * PER_EPOCH, STEPS, STEPS]
        for group, lr, length in zip(sgd.param_groups, highest, lengths, strict=True):
            group["lr"] = lr * (1 - step / length)
        sgd.step()
        with torch.no_grad():
            for bank in filters:
                assert bank.grad is not None
                velocity = velocities[bank].mul_(0.6).add_(bank.grad)
                update = _orthogonal((bank.grad + 0.6 * velocity).flatten(1)).view_as(bank)
                bank.mul_(len(bank) ** 0.5 / bank.norm()).sub_(
                    update, alpha=MUON_LR * (1 - step / STEPS)
                )
            if (step + 1) % 5 == 0:
                share = 1 - 0.95**5 * ((step + 1) / STEPS) ** 3
                for name, fast in network.state_dict().items():
                    if name in slow:
                        slow[name].lerp_(fast, share)
                        fast.copy_(slow[name])
    return network


def test_a_run_with_the_house_recipes_optimizer_equals_a_plain_loop() -> None:
    optim = Optim(
        "muon",
        MUON_LR,
        0.6,
        nesterov=True,
        norm_lr=BIAS_LR * BATCH,
        norm_weight_decay=DECAY / BIAS_LR / BATCH,
        rest_lr=BIAS_LR * BATCH,
        rest_weight_decay=DECAY / BIAS_LR / BATCH,
        head_lr=HEAD_LR * BATCH,
        head_weight_decay=DECAY / HEAD_LR / BATCH,
        stem_bias_epochs=STEM_EPOCHS,
        lookahead_k=5,
        lookahead_alpha=1 - 0.95**5,
        lookahead_power=3.0,
        lookahead_buffers=True,
        lookahead_start="k",
        lookahead_end="slow",
    )
    config = Config(optim=optim, train=Train(epochs=EPOCHS), schedule=Schedule("linear"))
    network, plain = _network(), _plain()
    machine = Machine(torch.device("cpu"), "fp32", False)
    step = TrainingStep(network, optim, machine, smoothing=0.2, steps=STEPS)
    for number, batch in enumerate(_batches()):
        now = stage(config, number, PER_EPOCH)
        step(batch, rates(config, number, PER_EPOCH), number, now)
    step.finish()
    assert step.first_bad_step() is None
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(
            network.state_dict()[name], value, rtol=1e-5, atol=1e-7, msg=name
        )
