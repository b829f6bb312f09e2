"""The epochs of a run: read as mappings and as columns, in little memory."""

from __future__ import annotations

import math
import tracemalloc

from benchmarks.records.epochs import EPOCH_NUMBERS, Epochs


def test_an_epoch_is_a_mapping_with_none_for_what_is_missing() -> None:
    epochs = Epochs()
    epochs.add(1, {"test_accuracy": 0.5, "lr": "high", "unknown": 3})
    epochs.add(2, {"test_accuracy": 0.75, "train_loss": math.inf})
    assert len(epochs) == 2
    assert epochs[-1] == {"epoch": 2, **dict.fromkeys(EPOCH_NUMBERS), "test_accuracy": 0.75}
    assert [epoch["lr"] for epoch in epochs[:]] == [None, None]
    assert list(epochs.points("test_accuracy")) == [(1, 0.5), (2, 0.75)]
    assert list(epochs.points("train_loss")) == []
    assert math.isnan(epochs.column("lr")[0])


def test_an_epoch_takes_less_than_150_bytes() -> None:
    tracemalloc.start()
    epochs = Epochs()
    for epoch in range(5000):
        epochs.add(epoch, dict.fromkeys(EPOCH_NUMBERS, epoch / 7))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 5000 < 150
