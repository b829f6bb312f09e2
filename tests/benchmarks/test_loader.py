"""The loader's benchmark: what it counts, what it compares, and what it says when it cannot."""

import json
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from benchmarks.loader import __main__ as loader
from benchmarks.loader import goals, page, processes, startup_child
from benchmarks.loader.against_peers import Bench
from benchmarks.loader.files import prepared
from benchmarks.loader.peers import Feed, Unavailable, memory_ceiling, ours, plain_tensors
from benchmarks.measuring import turns as pairs
from benchmarks.measuring.results import KEYS, Findings
from benchmarks.measuring.turns import Turns
from engine.errors import RunFailed, UserError, run_command
from tests.support.paths import ROOT

SAMPLES = 600  # a batch of 512 and a rest


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A small source file and what the benchmark makes of it."""
    from tests.support.data import coloured, write_beton

    path = tmp_path_factory.mktemp("benchmark") / "few.beton"
    write_beton(path, *coloured(SAMPLES + 50, seed=3), split="train")
    with prepared(str(path), SAMPLES) as made:
        yield made


def test_a_ratio_is_taken_within_each_pair_and_its_median_is_the_result():
    first, second = iter([10.0, 30.0, 8.0]), iter([5.0, 3.0, 2.0])
    order = []

    def turn(name, rates):
        order.append(name)
        return next(rates)

    found = pairs.interleave(lambda: turn("A", first), lambda: turn("B", second), 3)
    assert order == ["A", "B"] * 3
    assert found.ratios.values == (2.0, 10.0, 4.0)
    assert found.ratios.median == 4.0  # not 10 / 3, the ratio of the medians
    assert found.ratios.as_json() == {
        "median": 4.0, "min": 2.0, "max": 10.0, "values": [2.0, 10.0, 4.0]
    }  # fmt: skip


class Fixed(Turns):
    """Turns whose rates are known."""

    def __init__(self, name, rates):
        super().__init__(Feed(name, "", lambda _: iter(()), lambda: None), threads=1)
        self.rates = iter(rates)

    def __call__(self):
        return next(self.rates)


def test_the_fastest_setting_is_that_of_the_best_median():
    slow, fast = Fixed("slow", [9.0, 1.0, 1.0]), Fixed("fast", [2.0, 2.0, 2.0])
    best, rates = pairs.fastest([slow, fast], 3)
    assert best is fast
    assert [spread.median for spread in rates.values()] == [1.0, 2.0]


def test_a_turn_counts_every_sample_of_whole_epochs():
    seen = []

    def epoch(number):
        seen.append(number)
        for first in range(0, 10, 4):
            ids = torch.arange(first, min(first + 4, 10))
            yield torch.ones(len(ids), 3, 4, 4), ids

    turns = Turns(Feed("ten", "", epoch, lambda: None), threads=1, seconds=0.001)
    turns.warm_up(10)
    assert turns() > 0
    assert seen == list(range(len(seen)))  # each turn goes on with the next epoch
    assert pairs.consume(epoch(0)) == 10


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([0, 1, 2], "1 missing, 0 repeated"),
        ([0, 1, 2, 2], "1 missing, 1 repeated"),
        ([0, 1, 2, 3, 3], "0 missing, 1 repeated"),
        ([0, 1, 2, 4], "1 missing, 0 repeated"),
        ([], "4 missing, 0 repeated"),
    ],
)
def test_a_loader_that_delivers_other_samples_is_no_competitor(ids, said):
    batches = iter([(torch.zeros(len(ids), 1), torch.tensor(ids, dtype=torch.int64))])
    with pytest.raises(RunFailed, match=said):
        pairs.check_delivery("it", batches, 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_the_consumer_reads_as_many_elements_of_any_layout(layout, dtype):
    images = torch.ones(8, 3, 32, 32, dtype=dtype).to(memory_format=layout)
    assert float(pairs.touch(images)) == 8 * 3072 / pairs.TOUCHED_EVERY


def delivered(feed: Feed) -> None:
    try:
        Turns(feed, 1).warm_up(SAMPLES)
        Turns(feed, 1).warm_up(SAMPLES)  # and again in an epoch that is not the first
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


def test_the_ceilings_move_the_very_rows_that_are_asked_for(numbered):
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
    assert memory_ceiling.Faster(Fixed("a", [2.0]), Fixed("b", [3.0]))() == 3.0


def test_plain_tensors_crop_mirror_and_normalise_as_the_others_do(numbered):
    images = np.zeros((3, 32, 32, 3), np.uint8) + np.arange(32, dtype=np.uint8)[:, None, None]
    feed = plain_tensors.feed(images, 2, torch.float32)
    mean, std = torch.tensor(plain_tensors.MEAN), torch.tensor(plain_tensors.STD)
    for batch, _ in feed.epoch(0):
        pixels = (batch.permute(0, 2, 3, 1) * std + mean) * 255  # N H W C
        for image in pixels.round().int():
            rows = image.amax((1, 2)).tolist()
            shift = 16 - rows.index(16)  # where a row that no crop can lose has come from
            assert abs(shift) <= 4
            assert rows == [row if 0 <= row < 32 else 0 for row in range(shift, 32 + shift)]


def test_a_number_that_is_not_finite_is_missing_with_a_reason():
    found = Findings()
    found.number("ratio_uint8_vs_ffcv", math.nan)
    content = found.as_json()
    assert content["ratio_uint8_vs_ffcv"] is None
    assert content["missing"]["ratio_uint8_vs_ffcv"] == "measured as nan"
    assert set(KEYS) <= content.keys()
    assert set(KEYS) <= content["missing"].keys()


@pytest.mark.parametrize(
    ("value", "at_least", "said"),
    [(1.0, True, "met"), (0.9, True, "missed"), (1.0, False, "met"), (1.1, False, "missed"),
     (None, True, "not measured")],
)  # fmt: skip
def test_a_goal_is_judged_by_what_was_measured(value, at_least, said):
    assert goals.Goal("L0", "x", "x", 1.0, at_least).verdict(value) == said


def test_the_table_shows_what_the_gpu_took():
    found = Findings()
    spread = {"median": 0.0002, "min": 0.0001, "max": 0.0003}
    found.details["gpu_seconds_per_50000"] = {"uint8": {"128": spread}}
    found.details["gpu_step_seconds"] = {"128": spread}
    lines = page._gpu(found).splitlines()
    assert lines[2].split() == ["uint8", "128", "0.2000", "0.1000", "0.3000"]
    assert lines[3].split() == ["a", "training", "step", "128", "0.2000", "0.1000", "0.3000"]


def test_an_unavailable_loader_is_missing_and_the_rest_goes_on():
    found = Findings()
    with found.missing_if_unavailable("a", "b"):
        raise Unavailable("no such mode")
    assert found.missing == {"a": "no such mode", "b": "no such mode"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_asking_for_a_gpu_where_there_is_none_is_refused(capsys):
    assert run_command(loader.main, ["--device", "cuda"]) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--pairs", "0"], "expected a whole number, at least 1, found 0"),
        (["--samples", "many"], "at least 1, found many"),
        (["--without", "gather,nothing"], "found nothing"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:N"),
        (["--json", "no/such/folder/x.json"], "folder does not exist"),
        (["--data", "no_such.beton"], "no_such.beton: no such file"),
        (["--qick"], "--qick"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(argv, said, capsys):
    assert run_command(loader.main, argv) == 2
    assert said in capsys.readouterr().err


def test_without_data_the_built_in_figures_are_written_and_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with prepared(None, 40) as made:
        assert made.samples == 40 and "built-in figures" in made.described
        assert made.source.exists() and made.numbered.exists()
        folder = made.source.parent
    assert not folder.exists() and not list(tmp_path.iterdir())


def test_a_small_run_gives_every_figure_it_measured_and_a_reason_for_every_other(
    numbered, tmp_path, capsys
):
    target = tmp_path / "found.json"
    code = run_command(
        loader.main,
        ["--data", str(numbered.source), "--samples", str(SAMPLES), "--pairs", "2", "--json",
         str(target), "--without", "uint8,float,torchvision,starts,exits"],
    )  # fmt: skip
    printed, content = capsys.readouterr().out, json.loads(target.read_text())
    assert code == 0
    for key in KEYS:
        if content[key] is None:
            assert content["missing"][key].startswith("left out by --without"), key
        else:
            assert math.isfinite(content[key]), key
    assert content["gather_fraction_of_ceiling"] > 0
    assert content["figures"]["different_digests"] == 0
    assert len(content["details"]["pairs"]["gather / ceiling"]["first"]) == 2
    assert content["conditions"]["images"] == SAMPLES and not content["conditions"]["drop_last"]
    for condition in ("600 images of 3,072 bytes", "batch 512", "2 pairs", "threads on", "load",
                      f"torch {torch.__version__.partition('+')[0]}", "ffcv", "numba"):  # fmt: skip
        assert condition in printed
    assert "left out by --without uint8" in printed
    verdicts = {each["key"]: each["verdict"] for each in content["goals"]}
    assert verdicts["ratio_uint8_vs_ffcv"] == "not measured"
    assert verdicts["different_digests"] == "met"


def test_a_fresh_process_times_its_start(numbered, tmp_path):
    task = startup_child.Task("start", "ours", str(numbered.source), 64, 1)
    answer = processes._run(task, tmp_path)
    assert 0 < answer["constructor_seconds"] <= answer["first_batch_seconds"]
    assert answer["first_batch_seconds"] < answer["process_to_first_batch_seconds"]
    assert len(answer["epoch_gap_seconds"]) == startup_child.EPOCHS_FOR_GAPS - 1
    assert answer["peak_bytes"] >= answer["peak_bytes_of_imports"] > 0


def test_early_exits_are_counted_after_a_warm_up(numbered, tmp_path):
    # In a process of its own, as the benchmark does: other tests' threads end when they like.
    task = startup_child.Task("exits", "ours", str(numbered.numbered), 64, 1, exits=3)
    left = processes._run(task, tmp_path)
    assert left["exits"] == 3 and left["before"].keys() == left["after"].keys()
    assert left["after"]["threads"] == left["before"]["threads"] > 0
    assert left["after"]["descriptors"] == left["before"]["descriptors"] > 0


def test_a_fresh_process_that_fails_says_why(numbered, tmp_path):
    task = startup_child.Task("start", "ours", str(tmp_path / "no.beton"), 64, 1)
    with pytest.raises(RunFailed, match=r"no\.beton: no such file"):
        processes._run(task, tmp_path)


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


def test_the_gpu_kernel_is_timed_over_every_batch_also_by_its_interpreter():
    done = subprocess.run(
        [sys.executable, "-c", SMALL_GPU_RUN],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_host_syncs_are_counted_by_torchs_own_word_for_them(numbered, monkeypatch):
    from benchmarks.loader import gpu

    asked = []

    def mode(name):
        asked.append(name)
        if name == "warn":
            for _ in range(2):
                warnings.warn(f"{gpu.SYNC} (Triggered internally)", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", mode)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    bench = Bench(numbered, 512, 1, 1, True, "cpu", Findings(), lambda text: None)
    assert gpu.host_syncs(bench, torch.device("cpu")) == 2
    assert asked == ["warn", "default", "error", "default"]


def test_a_training_step_is_timed_as_the_engine_makes_it(monkeypatch):
    from benchmarks.loader import gpu

    monkeypatch.setattr(gpu, "WARM_STEPS", 1)
    spread = gpu.step_seconds("cpu", "resnet111_w16", size=2, side=32, steps=2)
    assert len(spread.values) == 2 and min(spread.values) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_small_run_has_all_keys_that_stay(tmp_path):
    target = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", "--quick", "--samples", str(SAMPLES), "--pairs",
         "2", "--json", str(target)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(target.read_text())
    for key in KEYS:
        assert isinstance(content[key], float) and math.isfinite(content[key]), key


def test_a_single_image_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least two"), prepared(None, 1):
        pass
