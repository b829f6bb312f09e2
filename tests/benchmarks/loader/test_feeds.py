"""The loaders that are compared deliver every sample once, and a turn counts them."""

import numpy as np
import pytest
import torch

from benchmarks.loader import turns
from benchmarks.loader.peers import Feed, memory_ceiling, ours, plain_tensors
from benchmarks.loader.turns import FeedTurns
from benchmarks.measuring.data import MEAN, STD
from engine.errors import RunFailed

SAMPLES = 600  # of the fixture `numbered`: a batch of 512 and a rest


def test_a_turn_counts_every_sample_of_whole_epochs():
    seen = []

    def epoch(number):
        seen.append(number)
        for first in range(0, 10, 4):
            ids = torch.arange(first, min(first + 4, 10))
            yield torch.ones(len(ids), 3, 4, 4), ids

    ten = FeedTurns(Feed("ten", "", epoch), threads=1, seconds=0.001)
    ten.warm_up(10)
    assert ten() > 0
    assert seen == list(range(len(seen)))  # each turn goes on with the next epoch
    assert turns.consume(epoch(0)) == 10


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1, 2], "1 missing, 0 repeated"),
        ([0, 1, 2, 2], "1 missing, 1 repeated"),
        ([0, 1, 2, 3, 3], "0 missing, 1 repeated"),
        ([0, 1, 2, 4], "1 missing, 0 repeated"),
        ([], "4 missing, 0 repeated"),
    ],
)
def test_a_loader_that_delivers_other_samples_is_refused(ids, message):
    batches = iter([(torch.zeros(len(ids), 1), torch.tensor(ids, dtype=torch.int64))])
    with pytest.raises(RunFailed, match=message):
        turns.check_delivery("it", batches, 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_the_consumer_reads_as_many_elements_of_any_layout(layout, dtype):
    images = torch.ones(8, 3, 32, 32, dtype=dtype).to(memory_format=layout)
    assert float(turns.touch(images)) == 8 * 3072 / turns.TOUCHED_EVERY


def delivered(feed: Feed) -> None:
    checked = FeedTurns(feed, 1)
    try:
        checked.warm_up(SAMPLES)
        checked.warm_up(SAMPLES)  # and again in an epoch that is not the first
    finally:
        feed.close()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ours.MODES)
def test_ours_delivers_every_sample_once(numbered, mode, dtype):
    delivered(ours.feed(numbered.numbered, 512, mode=mode, dtype=dtype))
    delivered(ours.feed(numbered.numbered, 512, mode=mode, dtype=dtype, ring=ours.RING))


def test_the_plain_tensors_deliver_every_sample_once(numbered):
    delivered(plain_tensors.feed(numbered.images, 512, torch.uint8))


def test_torchvision_delivers_every_sample_once(numbered):
    from benchmarks.loader.peers import torchvision_loader

    for kind in torchvision_loader.KINDS:
        delivered(torchvision_loader.feed(numbered.images, 512, kind, workers=0))
    delivered(torchvision_loader.feed(numbered.images, 512, "v1, tensors", workers=2))


def test_ffcv_delivers_every_sample_once_and_leaves_numba_as_it_was(numbered):
    from numba import types

    from benchmarks.loader.peers import ffcv_loader

    before = hash(types.uint8[::1])
    delivered(ffcv_loader.feed(numbered.numbered, 512, "decode", threads=1))
    assert types.uint8[::1].mutable and hash(types.uint8[::1]) == before


def test_stock_ffcv_still_needs_its_type_kept_apart():
    from ffcv.memory_managers import OSCacheManager
    from numba import types

    shared = types.uint8[::1]
    try:
        OSCacheManager.state_type.fget(None)
        assert not shared.mutable
    finally:
        shared.mutable = True


def test_our_gather_delivers_the_pixels_of_every_sample_once(numbered):
    feed = memory_ceiling.OurGather(numbered.numbered, 512).feed()
    delivered(feed)
    for images, ids in feed.epoch(1):
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), numbered.images[ids.numpy()])


def test_the_ceilings_move_the_rows_of_their_ids(numbered):
    _, *gathers = memory_ceiling.ceilings(numbered.numbered, 512, threads=2)
    ids = torch.arange(0, SAMPLES, 7).flip(0)
    expected = numbered.images.reshape(SAMPLES, -1)[ids.numpy()]
    for ceiling in gathers:
        out = torch.empty(expected.shape, dtype=torch.uint8)
        ceiling._move(ids, out)
        assert np.array_equal(out.numpy(), expected), ceiling.name


def test_a_ceiling_counts_what_its_threads_moved_and_leaves_torch_as_it_was(numbered, monkeypatch):
    monkeypatch.setattr(memory_ceiling, "SECONDS", 0.01)
    moved = []
    ceiling = memory_ceiling.ceilings(numbered.numbered, 512, threads=2)[0]
    ceiling._move = lambda ids, out: moved.append((len(ids), len(out)))
    rate = ceiling()
    assert set(moved) == {(512, 512), (SAMPLES - 512, SAMPLES - 512)}
    assert sum(count for count, _ in moved) >= 0.01 * rate > 0
    assert torch.get_num_threads() == 1


def test_the_faster_of_two_ceilings_counts():
    class Fixed:
        name = setting = ""

        def __init__(self, rate):
            self.rate = rate

        def __call__(self):
            return self.rate

    assert memory_ceiling.Faster(Fixed(2.0), Fixed(3.0))() == 3.0
    assert memory_ceiling.Faster(Fixed(3.0), Fixed(2.0))() == 3.0


def test_plain_tensors_crop_mirror_and_normalise_as_the_others_do(numbered):
    images = np.zeros((3, 32, 32, 3), np.uint8) + np.arange(32, dtype=np.uint8)[:, None, None]
    feed = plain_tensors.feed(images, 2, torch.float32)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    for batch, _ in feed.epoch(0):
        pixels = (batch.permute(0, 2, 3, 1) * std + mean) * 255  # N H W C
        for image in pixels.round().int():
            rows = image.amax((1, 2)).tolist()
            shift = 16 - rows.index(16)  # where a row that no crop can lose has come from
            assert abs(shift) <= 4
            assert rows == [row if 0 <= row < 32 else 0 for row in range(shift, 32 + shift)]
