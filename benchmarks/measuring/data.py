"""The synthetic set as a training and a test set, for machines without other images."""

from __future__ import annotations

from pathlib import Path

from writers import inputs, synthetic


def drawn(folder: Path, samples: int = synthetic.TRAIN) -> Path:
    """Write both sets, of `samples` images each; the path of the training set."""
    return inputs.write_synthetic(folder, {"train": samples, "test": samples})["train"]
