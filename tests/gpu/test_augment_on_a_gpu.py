"""What only a GPU can show of the augmentation: nothing waits, and a graph replays it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.data.augment import gpu
from engine.data.transform import Transform
from tests.support import augment

pytestmark = pytest.mark.gpu
TRANSFORM, SEED, BATCH, BATCHES = Transform(4, "reflect", "alternating", 8), 2**33 + 5, 16, 4


@pytest.fixture(autouse=True)
def _cuda() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def images() -> Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (64, 32, 32, 3), np.uint8)).cuda()


def _expected(images: Tensor, ids: Tensor, epoch: int) -> np.ndarray:
    samples = ids.cpu().numpy()
    return augment.expected(images.cpu().numpy(), samples, samples, TRANSFORM, SEED, epoch)


def test_an_epoch_of_batches_never_waits_for_the_device(images: Tensor) -> None:
    ids = torch.randperm(64, device="cuda")
    moment = torch.tensor(3, device="cuda")
    labels, gathered = torch.arange(64, device="cuda"), torch.empty(BATCH, dtype=torch.int64).cuda()
    scale, shift = np.float32([0.02, 0.02, 0.02]), np.float32([-2, -2, -2])
    for mode in ("default", "error"):  # the first round compiles
        torch.cuda.set_sync_debug_mode(mode)
        for epoch in (3, moment):
            for dtype in gpu.DTYPES:
                for first in range(0, 64, BATCH):
                    part = ids[first : first + BATCH]
                    gpu.augment(
                        images, part, part, TRANSFORM, SEED, epoch, dtype, scale, shift,
                        labels=labels, labels_out=gathered,
                    )  # fmt: skip
    torch.cuda.set_sync_debug_mode("default")
    assert (gathered == ids[-BATCH:]).all()


def test_a_graph_replays_for_another_step_and_another_epoch(images: Tensor) -> None:
    ids = torch.randperm(64, device="cuda")
    epoch, step = torch.tensor(0, device="cuda"), torch.tensor(0, device="cuda")
    out = torch.empty((BATCH, 32, 32, 3), dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)

    def make() -> None:
        gpu.augment(images, ids, ids, TRANSFORM, SEED, epoch, out=out, step=step)

    make()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        make()
    for now in (0, 1, 7, 2**31 + 1):
        epoch.fill_(now)
        ids.copy_(torch.randperm(64, device="cuda"))
        for at in range(BATCHES):
            step.fill_(at)
            graph.replay()
            part = ids[at * BATCH : (at + 1) * BATCH]
            assert (augment.pixels(out) == _expected(images, part, now)).all()


def test_the_same_batch_is_made_on_any_stream(images: Tensor) -> None:
    ids = torch.arange(64, device="cuda")
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        out = gpu.augment(images, ids, ids, TRANSFORM, SEED, 5)
    side.synchronize()
    assert (augment.pixels(out) == _expected(images, ids, 5)).all()


def test_rows_beyond_two_gibibytes_are_reached(images: Tensor) -> None:
    rows = 2**31 // 3072 + 64
    store = torch.empty((rows, 32, 32, 3), dtype=torch.uint8, device="cuda")
    store[-64:] = images
    ids = torch.arange(64, device="cuda")
    out = gpu.augment(store, ids + rows - 64, ids, TRANSFORM, SEED, 5)
    assert (augment.pixels(out) == _expected(images, ids, 5)).all()


def test_a_batch_beyond_two_gibibytes_is_written_to_its_end(images: Tensor) -> None:
    batch = 2**31 // 3072 + 64
    ids = torch.arange(batch, device="cuda")
    out = gpu.augment(images, ids % 64, ids, TRANSFORM, SEED, 5)
    last = ids[-3:].cpu().numpy()
    expected = augment.expected(images.cpu().numpy(), last % 64, last, TRANSFORM, SEED, 5)
    assert (augment.pixels(out[-3:]) == expected).all()
