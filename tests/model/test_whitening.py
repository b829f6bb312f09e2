"""Whitening filters: exact sums, uncorrelated responses, the same from every kind of store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.config.schema import Augment, Config, Data, Model, Train
from engine.data.sets import open_sets
from engine.model.whitening import EPSILON, patch_covariance, whitening_filters
from engine.runs import initial_weights
from engine.runs.state import State
from engine.step.device import Machine
from tests.support.data import TRAIN_IMAGES, Files, coloured

STD = (0.2, 0.25, 0.3)
CPU = torch.device("cpu")


def pixels(count: int = 40) -> torch.Tensor:
    return torch.from_numpy(coloured(count, seed=4)[0])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_covariance_is_that_of_all_patches(size: int) -> None:
    images = pixels(3).numpy() / 255 / STD
    patches = [
        image[y : y + size, x : x + size].transpose(2, 0, 1).ravel()
        for image in images
        for y in range(33 - size)
        for x in range(33 - size)
    ]
    expected = np.cov(np.array(patches).T, bias=True)
    np.testing.assert_allclose(patch_covariance([pixels(3)], size, STD), expected, rtol=1e-9)


def test_portions_threads_and_their_order_change_no_bit() -> None:
    whole = patch_covariance([pixels()], 2, STD)
    parts = list(pixels().flip(0).split(7))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(patch_covariance(parts, 2, STD), whole)
    finally:
        torch.set_num_threads(before)


def test_the_responses_are_uncorrelated_and_of_unit_variance() -> None:
    covariance = patch_covariance([pixels()], 2, STD)
    filters = whitening_filters(covariance, 2)
    assert filters.shape == (24, 3, 2, 2)
    assert torch.equal(filters[:12], -filters[12:])
    flat = filters[:12].flatten(1).double()
    responses = flat @ covariance @ flat.T
    variances = torch.linalg.eigvalsh(covariance).flip(0)
    expected = torch.diag(variances / (variances + EPSILON))
    torch.testing.assert_close(responses, expected, rtol=1e-4, atol=1e-5)
    large = flat.abs() >= flat.abs().amax(1, keepdim=True) / 2
    assert all(row[mask][0] > 0 for row, mask in zip(flat, large, strict=True))


@pytest.mark.parametrize("value", [0, 255])
def test_images_without_any_difference_give_finite_filters(value: int) -> None:
    constant = torch.full((2, 8, 8, 3), value, dtype=torch.uint8)
    filters = whitening_filters(patch_covariance([constant], 2, STD), 2)
    assert filters.isfinite().all() and filters.abs().max() <= EPSILON**-0.5 * 1.001


def config(files: Files, **data: object) -> Config:
    return Config(
        data=Data(train=str(files.train), test=str(files.test), **data),  # type: ignore[arg-type]
        model=Model(name="house94", widths=(8,)),
        train=Train(epochs=1, batch_size=16),
        augment=Augment(std=STD),
    )


def stem(config: Config, weights: initial_weights.InitialWeights | None = None) -> torch.Tensor:
    machine = Machine(CPU, "fp32", compile=False)
    network = State(config, machine, open_sets(config, CPU), weights).network
    return network.get_parameter("stem.0.weight").detach()


def test_a_run_starts_from_the_filters_of_its_training_images(files: Files) -> None:
    images = torch.from_numpy(coloured(TRAIN_IMAGES, seed=1)[0])
    expected = whitening_filters(patch_covariance([images], 2, STD), 2)
    for mode in ("resident", "stream"):
        assert torch.equal(stem(config(files, mode=mode)), expected)
    held_out = config(files, validation=20)
    [ids] = [open_sets(held_out, CPU).train.ids(0)]
    expected = whitening_filters(patch_covariance([images[np.sort(ids)]], 2, STD), 2)
    assert torch.equal(stem(held_out), expected)


def test_loaded_weights_keep_their_filters(files: Files, tmp_path: Path) -> None:
    first = config(files)
    machine = Machine(CPU, "fp32", compile=False)
    state = State(first, machine, open_sets(first, CPU)).network.state_dict()
    state["stem.0.weight"] = state["stem.0.weight"] * 2
    save_file(
        {name: each.contiguous() for name, each in state.items()}, tmp_path / "weights.safetensors"
    )
    model = dataclasses.replace(first.model, weights=str(tmp_path / "weights.safetensors"))
    weights = initial_weights.read(model, 4, 32)
    loaded = stem(dataclasses.replace(first, model=model), weights)
    assert torch.equal(loaded, state["stem.0.weight"])
