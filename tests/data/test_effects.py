"""Colour jitter, random erasing and coloured cutout: the fast versions equal the slow reference.

The GPU's kernel runs in Triton's interpreter, in a process of its own, and what it compiles to for
a GPU is looked at; on a GPU, where there is one, it runs there.
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.config.schema import Augment, Config, Data, Model, Train
from engine.data.augment import cpu, effects_gpu, reference_effects
from engine.data.augment.batch import AugmentSpec, augment_batch
from engine.data.augment.effects import Finish, fill_values, on_cpu
from engine.data.counter import Ids
from engine.data.loader import Loader
from engine.data.sets import open_sets
from engine.data.source import SourceBatch
from engine.data.transform import NO_EFFECTS, Effects, Transform
from engine.errors import UserError
from tests.support.augment import batch, pixels, store
from tests.support.data import Files
from tests.support.processes import interpreted

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
JITTER = Effects(brightness=0.14, contrast=0.13, saturation=0.4)
ALL = dataclasses.replace(JITTER, erasing=0.7, fill=MEAN)
CASES = {
    "brightness": Effects(brightness=1.0),
    "contrast": Effects(contrast=0.9),
    "saturation": Effects(saturation=1.0),
    "jitter": JITTER,
    "erasing": Effects(erasing=0.5),
    "cutout in the mean colour": Effects(fill=MEAN),
    "all": ALL,
}
DTYPES = {"uint8": torch.uint8, "float32": torch.float32, "bfloat16": torch.bfloat16}
TRANSFORM = Transform(2, "reflect", "alternating", 3)


def _finish(effects: Effects, dtype: torch.dtype, seed: int, cutout: int = 3) -> Finish:
    constants = cpu.scale_and_shift(MEAN, STD)
    return Finish(effects, cutout, seed, constants, fill_values(effects, MEAN, STD, dtype))


def _empty(number: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    return torch.empty((number, height, width, 3), dtype=dtype).permute(0, 3, 1, 2)


def _batch(
    images: np.ndarray, rows: Ids, ids: Ids, effects: Effects, seed: int, epoch: int
) -> np.ndarray:
    """A float32 batch as the loader makes it on the CPU, N H W C."""
    finish = _finish(effects, torch.float32, seed)
    spec = AugmentSpec(TRANSFORM, seed, finish.constants, effects, finish.fill)
    out = _empty(len(ids), *images.shape[1:3], torch.float32)
    source = SourceBatch(torch.from_numpy(images), torch.from_numpy(rows))
    augment_batch(spec, source, ids, torch.from_numpy(ids), epoch, None, out, None)
    return pixels(out)


def _slow(
    images: np.ndarray, rows: Ids, ids: Ids, effects: Effects, seed: int, epoch: int
) -> np.ndarray:
    """The reference's, in levels from 0 to 255."""
    pairs = zip(rows.tolist(), ids.tolist(), strict=True)
    return np.stack(
        [reference_effects.augment(images[r], i, TRANSFORM, effects, seed, epoch) for r, i in pairs]
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (5, 7), (40, 12)])
def test_batches_on_the_cpu_are_the_references(case: str, height: int, width: int) -> None:
    images, effects = store(height, width), CASES[case]
    rows, ids = batch(images, 70)  # more than one piece
    for seed, epoch in ((3, 0), (2**40 + 7, 2**31 + 5)):
        out = _batch(images, rows, ids, effects, seed, epoch)
        slow = _slow(images, rows, ids, effects, seed, epoch)
        exact = (slow / 255 - MEAN) / STD
        # 1e-3 of a level of 255, divided by the least standard deviation
        np.testing.assert_allclose(out, exact, rtol=0, atol=1e-3 / (255 * min(STD)))
        if effects.fill is not None:
            assert (out == 0).sum() >= 70 * 3 * 9  # the mean is exactly 0


@pytest.mark.parametrize("case", CASES)
def test_pixels_and_halves_are_the_floats_rounded(case: str) -> None:
    images, effects = store(16, 8, 40), CASES[case]
    ids = np.arange(40)
    outs = {name: _empty(40, 16, 8, dtype) for name, dtype in DTYPES.items()}
    for name, dtype in DTYPES.items():
        on_cpu(torch.from_numpy(images), ids, _finish(effects, dtype, 3), 2, outs[name])
    assert torch.equal(outs["bfloat16"], outs["float32"].bfloat16())
    levels = np.stack(
        [
            reference_effects.augment(
                images[i], i, Transform(0, flip="none", cutout=3), effects, 3, 2
            )
            for i in range(40)
        ]
    )
    off = np.abs(pixels(outs["uint8"]) - levels)
    assert off.max() <= 0.5 + 1e-3


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_gives_the_same_batch(threads: int) -> None:
    images = torch.from_numpy(store(8, 8, 300))
    ids = np.arange(300)
    one, many = (_empty(300, 8, 8, torch.float32) for _ in range(2))
    on_cpu(images, ids, _finish(ALL, torch.float32, 1), 4, one, threads=1)
    on_cpu(images, ids, _finish(ALL, torch.float32, 1), 4, many, threads=threads)
    assert torch.equal(one, many)


def test_jitter_is_torchvisions_for_the_same_factors() -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    image = store(16, 16, 1)[0]
    levels = torch.from_numpy(image).permute(2, 0, 1) / 255
    for factors in ((1.3, 0.6, 1.9), (0.2, 1.8, 0.0)):
        expected = levels
        names = ("brightness", "contrast", "saturation")
        for name, factor in zip(names, factors, strict=True):
            expected = getattr(functional, f"adjust_{name}")(expected, factor)
        ours = torch.from_numpy(reference_effects.jitter(image.astype(np.float64), *factors))
        np.testing.assert_allclose(ours.permute(2, 0, 1) / 255, expected, atol=1e-5)


def test_factors_are_uniform_and_of_their_strength() -> None:
    effects = Effects(brightness=0.5, saturation=1.0)
    drawn = reference_effects.factors(effects, 3, 1, np.arange(4000))
    assert (drawn[:, 1] == 1).all()
    for column, strength in ((0, 0.5), (2, 1.0)):
        assert np.abs(drawn[:, column] - 1).max() <= strength
        histogram, _ = np.histogram(drawn[:, column], 8, (1 - strength, 1 + strength))
        assert np.abs(histogram - 500).max() < 110  # five standard deviations
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1]) < 0.08


def test_erased_rectangles_lie_inside_and_have_torchvisions_sizes() -> None:
    ids = np.arange(6000)
    boxes = np.array(reference_effects.erased(Effects(erasing=0.5), 3, 1, ids, 32, 32))
    drawn = boxes[boxes[:, 2] > 0]
    assert abs(len(drawn) - 3000) < 200
    row, column, height, width = drawn.T
    assert (row >= 0).all() and (column >= 0).all()
    assert (row + height <= 32).all() and (column + width <= 32).all()
    assert row.min() == column.min() == 0
    assert (row + height).max() == (column + width).max() == 32
    # torchvision's distribution, drawn directly
    random = np.random.default_rng(0)
    areas = 1024 * random.uniform(0.02, 0.33, 200_000)
    ratios = np.exp(random.uniform(np.log(0.3), np.log(3.3), 200_000))
    tall, wide = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits = (tall < 32) & (wide < 32)
    sizes = reference_effects.rectangles(32, 32)
    for expected, ours in ((tall[fits], sizes >> 16), (wide[fits], sizes & 0xFFFF)):
        steps = np.arange(33.0)
        shares = [
            np.searchsorted(np.sort(each), steps, "right") / len(each) for each in (expected, ours)
        ]
        assert np.abs(shares[0] - shares[1]).max() < 0.01
    assert abs(float((height * width).mean()) - float((tall * wide)[fits].mean())) < 8


def test_effects_leave_the_other_draws_as_they_are() -> None:
    images = store(8, 8)
    rows, ids = batch(images, 9)
    plain = _batch(images, rows, ids, NO_EFFECTS, 3, 1)
    coloured = _batch(images, rows, ids, Effects(fill=MEAN), 3, 1)
    black = _batch(images, rows, ids, Effects(erasing=1e-12), 3, 1)
    np.testing.assert_allclose(black, plain, rtol=0, atol=1e-6)
    changed = np.abs(coloured - plain).max(3) > 1e-6
    assert (changed.reshape(9, -1).sum(1) == 9).all()  # the cutout, where it was


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_the_loader_makes_the_same_batches_from_any_step(files: Files, mode: str) -> None:
    def loader(size: int) -> Loader:
        return Loader(files.train, size, seed=3, mode=mode, cutout=8, effects=ALL, autoaugment=True)

    with loader(16) as one, loader(7) as other:
        whole = torch.cat([images for images, _ in one.epoch(1)])
        rest = torch.cat([images for images, _ in other.epoch(1, skip=2)])
    assert torch.equal(whole[14:], rest)


def test_the_colour_of_a_run_is_the_mean_that_its_settings_name(files: Files) -> None:
    data = Data(train=str(files.train), test=str(files.test))
    model, train = Model(blocks=(1,), widths=(4,)), Train(batch_size=16)
    for normalize in (True, False):
        augment = Augment(cutout=32, cutout_fill="mean", normalize=normalize)
        config = Config(data=data, augment=augment, model=model, train=train)
        images, _ = next(open_sets(config, torch.device("cpu")).train.epoch(0))
        expected = torch.zeros(3) if normalize else torch.tensor(MEAN)
        assert torch.equal(images, expected[:, None, None].expand_as(images))


@pytest.mark.parametrize(
    ("effects", "problem"),
    [
        (Effects(brightness=1.1), "brightness 1.1: expected 0 to 1"),
        (Effects(erasing=-0.1), "erasing -0.1: expected 0 to 1"),
        (Effects(fill=(0.5, 2.0, 0.5)), "fill (0.5, 2.0, 0.5): expected three numbers"),
    ],
)
def test_effects_that_do_not_exist_are_refused(
    files: Files, effects: Effects, problem: str
) -> None:
    with pytest.raises(UserError) as caught:
        Loader(files.train, 4, effects=effects)
    assert problem in str(caught.value)


CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.mark.parametrize("device", ["cpu"] if INTERPRETED else [CUDA])
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_of_the_gpu_gives_the_same_bits(case: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for (height, width), seed, epoch in (((6, 8), 3, 1), ((40, 48), 2**40 + 7, 2**31 + 5)):
        images = store(height, width, 4)
        ids = np.random.default_rng(1).integers(0, 2**31, 8)
        there = torch.from_numpy(images).to(device)
        epoch_there = torch.tensor(epoch, device=device)
        for dtype in DTYPES.values():
            finish = _finish(CASES[case], dtype, seed)
            expected, out = _empty(4, height, width, dtype), _empty(4, height, width, dtype)
            on_cpu(torch.from_numpy(images), ids[4:], finish, epoch, expected)
            out = out.to(device)
            all_ids, step = torch.from_numpy(ids).to(device), torch.tensor(1, device=device)
            effects_gpu.finish_batch(there, all_ids, finish, epoch_there, out, step=step)
            if INTERPRETED and dtype is torch.bfloat16:  # which it cuts off instead of rounding
                assert (out.float() - expected.float()).abs().max() <= 2.0**-6
            else:
                assert torch.equal(out.cpu(), expected)
        effects_gpu.finish_batch(there, all_ids[4:], finish, epoch, out)
        assert INTERPRETED or torch.equal(out.cpu(), expected)


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_the_kernel_compiles_for_a_gpu_without_fused_operations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    from triton.backends.compiler import GPUTarget

    from engine.data.augment import effects_kernel

    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
    )
    real: Any = effects_kernel.finish
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    monkeypatch.setattr(real, "device_caches", defaultdict(real.create_binder))
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))
    compiled: list[str] = []

    class Launcher:
        def __getitem__(self, grid: tuple[int]) -> Any:
            def launch(*arguments: Any, **options: Any) -> None:
                kernel = real.run(*arguments, grid=grid, warmup=True, **options)
                compiled.append(kernel.asm["ptx"])

            return launch

    monkeypatch.setattr(effects_kernel, "finish", Launcher())
    ids, now = torch.arange(4), torch.tensor(1)
    images = torch.zeros((4, 32, 32, 3), dtype=torch.uint8)
    out = _empty(4, 32, 32, torch.bfloat16)
    effects_gpu.finish_batch(images, ids, _finish(ALL, out.dtype, 2**40), now, out, step=now)
    (ptx,) = compiled
    assert "mul.rn.f32" in ptx or "mul.f32" in ptx
    assert "fma.rn.f32" not in ptx


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="this is its process")
def test_tritons_interpreter_gives_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    output = interpreted(__file__, tmp_path, "-k", "kernel_of_the_gpu")
    assert f"{len(CASES)} passed" in output
