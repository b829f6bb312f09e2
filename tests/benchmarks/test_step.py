"""The step's benchmark: what is compared, how it is counted, and what it says when it cannot."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.accuracies import __main__ as accuracies
from benchmarks.measuring.turns import Pairs, Spread
from benchmarks.step import __main__ as step
from benchmarks.step import gpu, layer, whole_runs
from benchmarks.step import page as step_found
from benchmarks.step import turns as step_turns
from benchmarks.step.against_peers import Bench
from benchmarks.step.page import KEYS, QUICKSTART, Found
from benchmarks.step.peer_process import Apart
from benchmarks.step.peers import Switches, Task, Trainer, reports_loop, usual_switches
from benchmarks.step.peers.ffcv_style import FfcvStyle
from benchmarks.step.peers.ours import Ours
from benchmarks.step.peers.plain_loop import Plain
from benchmarks.step.turns import StepTurns
from engine import train
from engine.config.schema import Runtime
from engine.errors import RunFailed, run_command
from engine.model import VARIANTS, ResNet
from engine.step import profile
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.paths import ROOT

EAGER = Runtime(compile=False, precision="fp32")
BATCH = 16


@pytest.fixture
def task(files: Files) -> Task:
    return Task(QUICKSTART, BATCH, files.train, "cpu", threads=1, epochs=3)


@pytest.fixture
def bench(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setitem(profile.PRODUCT, "cpu", 32)
    monkeypatch.setattr(profile, "MOST", 3)
    return Bench(
        path=files.train, device="cpu", threads=1, batch_size=4, variants=(QUICKSTART,), pairs=2,
        seconds=0.001, quick=True, cache=tmp_path, found=Found(), say=lambda _: None,
        save=lambda: None,
    )  # fmt: skip


class Clockwork:
    """Steps of known length by a clock of their own: the first is slow, and all have 5 images."""

    name, setting, warm_up = "clockwork", "wound up", 4
    device = torch.device("cpu")
    switches = Switches(1, True, True, False)
    prepare_seconds = 2.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.steps = 0.0, 0
        monkeypatch.setattr(step_turns.time, "perf_counter", lambda: self.now)

    def step(self) -> int:
        self.steps += 1
        self.now += 10.0 if self.steps == 1 else 0.25
        return 5

    def close(self) -> None:
        self.steps = -1


def test_a_turn_is_whole_steps_and_a_warm_up_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clockwork = Clockwork(monkeypatch)

    def make() -> Trainer:
        clockwork.now += 3.0  # of which two are the preparation's
        return clockwork

    turns = StepTurns(make, seconds=1.0)
    assert turns.warm.usual == 0.25
    assert turns.warm.seconds == pytest.approx(1 + 10 + 3 * 0.25)
    assert turns.warm.extra == pytest.approx(1 + 10 - 0.25)
    assert turns() == pytest.approx(20.0)
    assert clockwork.steps == 4 + 4  # four in the warm-up, four make a second
    assert turns.host_seconds() == pytest.approx(0.25)
    turns.close()
    assert clockwork.steps == -1


@pytest.mark.parametrize("kind", [Plain, FfcvStyle])
def test_the_others_train_the_same_network_on_the_same_images(kind: Any, task: Task) -> None:
    torch.manual_seed(0)
    trainer = kind(task)
    before = [parameter.clone() for parameter in trainer._network.parameters()]
    assert len(before) == len(list(ResNet(VARIANTS[QUICKSTART]).parameters()))
    assert [trainer.step() for _ in range(6)] == [BATCH] * 6
    changed = zip(before, trainer._network.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in changed)
    trainer.close()


def test_the_plain_loop_learns_what_it_is_shown(task: Task) -> None:
    torch.manual_seed(0)
    trainer = Plain(task)
    losses = []
    for _ in range(30):
        before = trainer.loss
        trainer.step()
        losses.append(trainer.loss - before)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert trainer.correct > 30 * BATCH / 2


def test_ours_meets_its_short_batch_first_and_then_every_image_of_an_epoch(task: Task) -> None:
    trainer = Ours(task, EAGER)
    short = TRAIN_IMAGES % BATCH
    whole = TRAIN_IMAGES // BATCH
    assert short and whole == 4
    first = [trainer.step() for _ in range(4)]
    assert first == [BATCH, BATCH, BATCH, short]
    assert trainer.state.counters.epoch == 1
    assert [trainer.step() for _ in range(whole + 1)] == [BATCH] * whole + [short]
    assert trainer.state.counters.step_in_epoch == 0
    trainer.close()


def test_ours_is_called_by_what_auto_chose(task: Task) -> None:
    trainer = Ours(task, EAGER)
    assert trainer.setting == "fp32, channels_last"
    assert trainer.flops > 1e6
    trainer.close()


def test_each_turn_has_the_switches_of_its_trainer(task: Task) -> None:
    before = Switches.now()
    mine, theirs = Ours(task, EAGER), Plain(task)
    try:
        assert theirs.switches.cudnn_tf32 and not mine.switches.cudnn_tf32
        turns = [StepTurns(lambda: mine, 0.001), StepTurns(lambda: theirs, 0.001)]
        for each in (*turns, *turns):
            each()
            assert Switches.now() == each.trainer.switches
    finally:
        before.set()


def test_the_reports_loop_is_timed_epoch_by_epoch(task: Task) -> None:
    before = Switches.now()
    try:
        seconds = reports_loop.epochs(task, 2, workers=0)
    finally:
        before.set()
    assert len(seconds) == 2 and all(each > 0 for each in seconds)


def test_the_passes_of_the_layer_are_those_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "SIDE", 6)
    drawn: list[torch.Tensor] = []
    plain_randn = torch.randn

    def randn(*shape: int, **options: Any) -> torch.Tensor:
        drawn.append(plain_randn(*shape, **options))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn", randn)
    torch.manual_seed(0)
    calls = layer.passes(2, torch.float32, torch.device("cpu"))
    images, gradient, weight = drawn
    images.requires_grad_(), weight.requires_grad_()
    out = torch.nn.functional.conv2d(images, weight, padding=1)
    of_images, of_weight = torch.autograd.grad(out, (images, weight), gradient)
    assert torch.allclose(calls["forward"](), out, atol=1e-4)
    assert torch.allclose(calls["input gradient"]()[0], of_images, atol=1e-4)
    assert torch.allclose(calls["weight gradient"]()[1], of_weight, atol=1e-4)
    assert len(layer.seconds(calls["forward"], torch.device("cpu"), 3).values) == 3


def test_the_sections_of_a_gpu_fill_their_tables(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "MODES", {"eager": EAGER, "none": Runtime(graph=True)})
    monkeypatch.setattr(gpu, "PRECISIONS", ("fp32",))
    monkeypatch.setattr(
        bench, "ours", lambda task, runtime=None: Ours(task, EAGER, cache=str(bench.cache))
    )
    before = Switches.now()
    try:
        for section in (gpu.batches, gpu.modes, gpu.precisions, layer.layer):
            section(bench)
    finally:
        before.set()
    tables = bench.found.details["tables"]
    assert [row["batch"] for row in tables["ours by batch size"]] == [4, 8]
    for row in tables["ours by batch size"]:
        assert row["images/s"] > 0 and 0 <= row["idle"] < 1 and row["of peak"] > 0
        assert row["us of the host a step"] > 0 and row["convolution"] > 0
    assert [row["what"] for row in tables["ours by mode"]] == ["eager", "none"]
    assert len(tables["ours by precision"]) == 1
    assert [row["pass"] for row in tables[layer.TITLE]] == [
        "forward", "input gradient", "weight gradient"
    ]  # fmt: skip
    assert {"idle_share", "host_seconds"} <= bench.found.figures.keys()
    assert bench.found.missing == {}


def test_what_fails_is_missing_with_its_reason_and_the_rest_goes_on(bench: Bench) -> None:
    with bench.found.missing_if_it_fails("a"):
        raise RunFailed("no memory\nfor it")
    with bench.found.missing_if_it_fails("b"):
        bench.found.figure("b", 1.0)
    bench.found.of_variant("tflops", "x", math.inf)
    content = bench.found.as_json()
    assert content["missing"]["a"] == "no memory"
    assert content["missing"]["tflops x"] == "measured as inf"
    assert content["missing"]["ratio_vs_plain"] == "not measured"
    assert content["figures"] == {"b": 1.0} and set(KEYS) <= content.keys()


@pytest.mark.parametrize(
    ("bf16", "ratios", "verdicts"),
    [
        (True, {"resnet453": 2.5, QUICKSTART: 2.9}, ["met", "missed"]),
        (True, {"resnet453": 2.4, QUICKSTART: 3.0}, ["missed", "met"]),
        (False, {"resnet453": 1.1, QUICKSTART: 1.0}, ["met", "missed"]),
    ],
)
def test_the_goal_of_a_cpu_follows_its_units_and_the_network(
    bf16: bool, ratios: dict[str, float], verdicts: list[str]
) -> None:
    found = Found()
    for variant, ratio in ratios.items():
        found.of_variant("ratio_vs_plain", variant, ratio)
    judged = step_found.judged(found, gpu=False, bf16=bf16)
    assert [each["verdict"] for each in judged] == verdicts


def test_the_goals_of_a_gpu_are_judged_by_what_was_measured() -> None:
    found = Found()
    found.figure("whole_seconds", 149.0)
    found.figure("host_seconds", 51e-6)
    judged = step_found.judged(found, gpu=True, bf16=True)
    verdicts = {each["key"]: each["verdict"] for each in judged}
    assert verdicts["whole_seconds"] == "met"
    assert verdicts["host_seconds"] == "missed"
    assert verdicts["idle_share"] == "not measured"


def test_compiling_is_what_the_first_epoch_takes_beyond_the_others() -> None:
    record = {
        "variant": "x", "epochs": 4, "precision": "bf16", "test_accuracy": 0.5,
        "images_per_second": 1.0, "config": {"train": {"seed": 3, "batch_size": 128}},
    }  # fmt: skip
    log = [{"seconds": end, "test_accuracy": 0.1} for end in (40.0, 41.0, 42.0, 44.0)]
    found = whole_runs.summary(record, log, passed=50.0)
    assert found["usual_epoch_seconds"] == 1.0
    assert found["compiling_seconds"] == 39.0
    assert found["without_compiling_seconds"] == 11.0
    assert (found["seed"], found["test_accuracy"]) == (3, 0.5)


def test_accuracies_come_with_their_number_and_spread() -> None:
    runs = [
        {"variant": name, "test_accuracy": value}
        for name, value in (("a", 0.94), ("b", 0.5), ("a", 0.96))
    ]
    found = accuracies.summary(runs, ladder=False)["accuracy"]
    assert found["a"]["n"] == 2 and found["a"]["mean"] == pytest.approx(0.95)
    assert found["a"]["std"] == pytest.approx(0.0141421, rel=1e-4)
    assert found["b"]["std"] is None


def test_a_ladder_tells_the_quickest_run_that_ends_at_a_target() -> None:
    runs = [
        {"epochs": epochs, "seed": 0, "test_accuracy": accuracy,
         "wall_seconds": seconds + 9, "without_compiling_seconds": seconds}
        for epochs, accuracy, seconds in ((10, 0.93, 8.0), (20, 0.951, 16.0), (40, 0.955, 32.0))
    ]  # fmt: skip
    found = accuracies.summary(runs, ladder=True)["seconds_to"]
    assert found["0.95"]["epochs"] == 20 and found["0.95"]["without_compiling_seconds"] == 16.0
    assert found["0.94"]["epochs"] == 20 and found["0.96"] is None


def test_the_page_shows_every_pair_and_goal() -> None:
    found = Found()
    found.pairs["net: ours / plain PyTorch"] = Pairs(Spread((6.0, 8.0)), Spread((2.0, 2.0)))
    found.settings["net: ours"] = "bf16"
    found.of_variant("images_per_second", "net", 7.0)
    found.of_variant("ratio_vs_plain", "net", 3.5)
    conditions = {
        "batch_size": 128, "pairs": 2, "seconds_of_a_turn": 1.0, "data": "x.beton", "cpu": "C",
        "threads": 2, "cores": 2, "governor": None, "load_before": 0.0, "load_after": 0.0,
        "versions": {"torch": "2", "python": "3"}, "quick": True,
    }  # fmt: skip
    page = step_found.text(found, step_found.judged(found, gpu=False, bf16=True), conditions)
    for word in ("net: ours / plain PyTorch", "3.5x", "bf16", "S1", "met", "indicative"):
        assert word in page, word


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--pairs", "0"], "expected a whole number, at least 1, found 0"),
        (["--variants", "resnet45"], "found resnet45; did you mean resnet453?"),
        (["--only", "pairs,nothing"], "found nothing"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:N"),
        (["--json", "no/such/folder/x.json"], "folder does not exist"),
        (["--data", "no_such.beton"], "no_such.beton: no such file"),
        (["--qick"], "--qick"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(step.main, argv) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(step.main, ["--device", "cuda"]) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err


def test_trainers_in_processes_of_their_own_answer_until_they_are_closed(task: Task) -> None:
    trainer = Apart("plain", task, cache="", seconds=0.001)
    assert (trainer.name, trainer.facts.flops) == (Plain.name, 0)
    assert trainer() > 0 and trainer() > 0
    before = trainer._process
    trainer.close()
    assert before.exitcode == 0


def test_a_trainer_that_cannot_be_made_says_why(task: Task, tmp_path: Path) -> None:
    lost = replace(task, path=tmp_path / "no.beton")
    with pytest.raises(RunFailed, match=r"no\.beton: no such file"):
        Apart("plain", lost, cache="", seconds=0.001)


@pytest.mark.timeout(180)
def test_a_small_run_has_the_keys_that_stay_and_its_conditions(
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # should `auto` choose to compile
    target = tmp_path / "found.json"
    argv = ["--quick", "--data", str(files.train), "--variants", QUICKSTART, "--batch", "8"]
    argv += ["--pairs", "2", "--threads", "1", "--only", "pairs", "--json", str(target)]
    assert run_command(step.main, argv) == 0
    content, page = json.loads(target.read_text()), capsys.readouterr().out
    for key in KEYS:
        assert math.isfinite(content[key][QUICKSTART]), key
    pairs = content["details"]["pairs"]
    assert list(pairs) == [
        f"{QUICKSTART}: ours / plain PyTorch", f"{QUICKSTART}: ours / FFCV-style loop"
    ]  # fmt: skip
    first = pairs[f"{QUICKSTART}: ours / plain PyTorch"]
    assert first["ratio"]["median"] == content["ratio_vs_plain"][QUICKSTART]
    assert first["ratio"]["values"] == [
        pytest.approx(a / b) for a, b in zip(first["first"], first["second"], strict=True)
    ]
    known = content["conditions"]
    assert (known["batch_size"], known["pairs"], known["threads"]) == (8, 2, 1)
    assert {"cpu", "cores", "versions", "load_before", "load_after"} <= known.keys()
    assert content["goals"][0]["goal"] == "S1" and "batch 8, 2 pairs" in page
    assert usual_switches(1).cudnn_tf32


@pytest.mark.parametrize("ladder", [[], ["--ladder", "15,30"]])
def test_every_planned_run_is_a_command_that_the_engine_takes(
    ladder: list[str], files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = accuracies._arguments(["--variants", "resnet453", "--seeds", "1,2", *ladder])
    plans = accuracies._plans(asked)
    assert len(plans) == 2
    for variant, flags in plans:
        config = ["--config-file", str(ROOT / "configs" / f"{variant}.yaml")]
        assert run_command(train.main, [*config, *files.flags(), *flags, "--print-config"]) == 0
        assert flags[flags.index("--train.seed") + 1] in ("1", "2")
    capsys.readouterr()
