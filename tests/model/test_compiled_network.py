"""A compiled training step computes what the eager one does, for every kind of block."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from engine.model import VARIANTS, ResNet, Variant
from engine.model.norm import count_together
from engine.model.variants import HOUSE
from tests.support.networks import smallest_side

# torch 2.11's own compiler still imports what it deprecates
inductor = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
SMALL = {  # one small net of each kind of block
    "kernels": Variant((1, 2), (8,), (4, 5), (1, 2), pool=3),
    "stem se": Variant((1, 1), (8,), se="stem", se_reduction=4, stem_kernel=2),
    "block se": Variant((2, 1), (8,), se="block", se_reduction=4, stem_stride=2),
    "maxpool": Variant((1, 2, 1), (8, 12, 10), skip="maxpool", skip_kernels=(3,)),
    "preactivation": Variant((2, 2), (8,), preactivation=True),
    "preactivation all": Variant(
        (1, 1), (8,), preactivation=True, se="block", se_reduction=2, skip="maxpool"
    ),
    "house": Variant((1, 1), (8,), **HOUSE | {"logit_scale": 0.5}),
}


def compare_compiled(network: ResNet, images: torch.Tensor, backend: str = "inductor") -> None:
    """Loss, gradients and running statistics of an eager and a compiled training step."""
    labels = torch.arange(len(images)) % 10
    twin = copy.deepcopy(network)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    losses = []
    for module in (network, compiled):
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    for (key, eager), other in zip(network.named_parameters(), twin.parameters(), strict=True):
        if not eager.requires_grad:
            assert eager.grad is None and other.grad is None, key
            continue
        assert eager.grad is not None, key
        scale = eager.grad.abs().max().item()
        torch.testing.assert_close(other.grad, eager.grad, rtol=1e-3, atol=1e-3 * scale + 1e-6)
    for eager_values, values in zip(network.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(values, eager_values, rtol=1e-4, atol=1e-5)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> object:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("kind", SMALL)
def test_eager_equals_traced_for_every_kind_of_block(kind: str) -> None:
    torch.manual_seed(2)
    compare_compiled(ResNet(SMALL[kind], side=16), torch.randn(8, 3, 16, 16), "aot_eager")


@pytest.mark.parametrize(
    "kind", ["house", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SMALL)]
)
def test_eager_equals_traced_as_on_a_gpu(kind: str) -> None:
    """With the first convolution padded, and no batch norm that counts."""
    torch.manual_seed(2)
    network = ResNet(SMALL[kind], side=16)
    network.pad_stem(8)
    count_together(network)
    compare_compiled(network, torch.randn(8, 3, 16, 16), "aot_eager")


@inductor
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stem se", "preactivation all", "house"])
def test_eager_equals_compiled(kind: str) -> None:
    torch.manual_seed(2)
    compare_compiled(ResNet(SMALL[kind], side=16), torch.randn(8, 3, 16, 16))


@inductor
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", VARIANTS)
def test_eager_equals_compiled_for_every_variant(name: str) -> None:
    torch.manual_seed(2)
    variant = VARIANTS[name]
    side = smallest_side(variant)
    compare_compiled(ResNet(variant, side=side), torch.randn(8, 3, side, side))
