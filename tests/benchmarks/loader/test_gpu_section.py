"""The loader's section for a GPU, as far as it can be tried without one."""

import warnings

import pytest
import torch

from benchmarks.loader import gpu
from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.measuring import replayed
from benchmarks.measuring.clock import Clock
from engine.data.loader import Loader
from tests.support.processes import python, succeed

SMALL_GPU_RUN = """
import torch
from benchmarks.loader import gpu
images = torch.arange(5 * 3072, dtype=torch.int64).remainder(251).to(torch.uint8)
images = images.view(5, 32, 32, 3)
gpu.WARM_UP = 0
for dtype in gpu.DTYPES:
    spread = gpu.kernel_seconds(images, 2, dtype, 1)
    assert len(spread.values) == 1 and spread.median > 0
"""


@pytest.mark.slow
def test_the_gpu_kernel_is_timed_over_every_batch_also_by_its_interpreter():
    succeed(*python("-c", SMALL_GPU_RUN), environment={"TRITON_INTERPRET": "1"})


def test_the_gpu_kernel_is_launched_once_per_batch_and_warm_up_passes_do_not_count(monkeypatch):
    launched = []
    monkeypatch.setattr(gpu, "augment", lambda images, ids, *rest, **out: launched.append(len(ids)))
    spread = gpu.kernel_seconds(torch.zeros(5, 32, 32, 3, dtype=torch.uint8), 2, torch.uint8, 4)
    assert len(spread.values) == 4 and min(spread.values) > 0
    assert launched == [2, 2, 1] * (gpu.WARM_UP + 4)


def test_a_clock_without_a_gpu_times_each_call():
    clock = Clock(torch.device("cpu"))
    for _ in range(3):
        clock.time(lambda: sum(range(1000)))
    assert len(clock.seconds()) == 3 and min(clock.seconds()) > 0


def test_host_syncs_are_counted_by_torchs_warning_about_them(numbered, monkeypatch):
    modes = []

    def set_mode(name):
        modes.append(name)
        if name == "warn":
            for _ in range(2):
                warnings.warn(f"{gpu.SYNC} (Triggered internally)", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    bench = LoaderBenchmark(
        files=numbered, batch_size=512, threads=1, pairs=1, quick=True, device="cpu",
        target=None, say=lambda text: None,
    )  # fmt: skip
    assert gpu.host_syncs(bench, torch.device("cpu")) == 2
    assert modes == ["warn", "default", "error", "default"]


def test_the_share_is_of_the_step_that_users_train_with(files, monkeypatch):
    monkeypatch.setattr(gpu, "WARM_STEPS", 1)
    augmented, real = [], Loader.epoch

    def epoch(self, *args, **options):
        augmented.append(self.store)
        return real(self, *args, **options)

    monkeypatch.setattr(Loader, "epoch", epoch)
    assert gpu.step_seconds(files.train, "cpu", "resnet111_w16", size=32, steps=6) > 0
    assert len(augmented) >= 3  # 75 images: two whole batches an epoch, and no short one


def test_repeated_work_is_timed_without_what_comes_before():
    order = []
    cpu = torch.device("cpu")
    work = replayed.recorded([lambda: order.append(1), lambda: order.append(2)], cpu)
    assert len(replayed.timed(work, cpu, 2, lambda: order.append(0))) == 2
    assert order == [0, 1, 2, 0, 1, 2]
    assert replayed.reader(cpu)() is None
