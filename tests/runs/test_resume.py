"""Stopped anywhere, by a real signal, a run ends as if it had never been stopped.

The most common bug of a resume is that it silently replays or skips data. The loss does not show
it, so the sample ids are compared as well: their digest is part of log and record.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import train
from engine.errors import run_command
from engine.model import whiten
from engine.runs.directory import RunFolder
from engine.runs.state import State
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.processes import SIGNALS, WarmProcess, start_warm
from tests.support.runs import exact_flags, outcome

HOUSE = (  # the parts of configs/house94.yaml, short enough that each acts
    "--model.stem whiten --model.stem_kernel 2 --model.transition pool --model.activation gelu "
    "--model.norm_scale false --model.pool_kind max --model.classifier_bias false "
    "--model.init dirac --model.classifier_std 1 --model.logit_scale 0.1 --augment.sizes 20,28 "
    "--augment.sizes_until 0.3,0.7 --train.label_smoothing 0.2 --train.tta six --optim.name muon "
    "--optim.norm_lr 1 --optim.head_lr 2 --optim.rest_lr 0.5 --optim.weight_decay 0 "
    "--optim.norm_weight_decay 0.001 --optim.stem_bias_epochs 0.6 --optim.lookahead_k 2 "
    "--optim.lookahead_alpha 0.2 --optim.lookahead_power 3 --optim.lookahead_buffers "
    "--optim.lookahead_start k --optim.lookahead_end slow --schedule.name linear"
).split()


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--schedule.name", "onecycle", "--train.epochs", "1.5"],
        ["--optim.name", "adam"],
        "--optim.lookahead_k 2 --model.init orthogonal --data.limit 70".split(),
        "--optim.name adam --optim.lookahead_k 3 --schedule.name cyclic".split(),
        "--augment.sizes 16,24 --augment.sizes_until 0.3,0.6 --train.drop_last".split(),
        [*HOUSE, "--train.epochs", "1.5"],
        "--augment.mixup 0.8 --augment.cutmix 1 --augment.erasing 0.5 --augment.contrast 0.2 "
        "--augment.sizes 28 --augment.sizes_until 0.4 --train.label_smoothing 0.1".split(),
        "--optim.name adamw --optim.ema_decay 0.7 --optim.ema_start 0.3 --checkpoint.best "
        "--data.validation 5 --schedule.name trapezoid --schedule.warmup 0.5".split(),
    ],
    ids=[
        "sgd",
        "part of an epoch",
        "adam",
        "lookahead",
        "adam, lookahead",
        "stages",
        "house",
        "mixed",
        "adamw, moving average",
    ],
)
def test_a_run_stopped_after_every_step_ends_in_the_same_bits(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    epochs, batch = 2.0, 32
    last = TRAIN_IMAGES % batch > 0 and "--train.drop_last" not in more
    if "--train.epochs" in more:
        epochs, more = float(more[-1]), more[:-2]
    steps = round(epochs * (TRAIN_IMAGES // batch + last))
    more = [*more, "--optim.lr", "0.01"]
    whole = exact_flags(files, tmp_path / "whole", epochs, batch)
    assert run_command(train.main, [*whole, *more]) == 0
    signals = itertools.cycle(SIGNALS)
    real, whitened = State.advance, list[Any]()

    def counted(*args: Any) -> None:
        whitened.append(args)
        whiten(*args)

    monkeypatch.setattr("engine.runs.state.whiten", counted)

    def signalled(state: State, batch: Any) -> None:
        os.kill(os.getpid(), next(signals))  # a real one, in the middle of a step
        real(state, batch)

    monkeypatch.setattr(State, "advance", signalled)
    flags = [*exact_flags(files, tmp_path / "parts", epochs, batch), *more]
    codes = [run_command(train.main, flags) for _ in range(steps + 1)]
    assert codes == [75] * steps + [0]
    assert len(whitened) == 1, "later sessions have the filters from the checkpoint"
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_run_stopped_before_the_first_step_or_in_an_evaluation_loses_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(train.main, exact_flags(files, tmp_path / "whole", 2, 32)) == 0
    flags = exact_flags(files, tmp_path / "parts", 2, 32)

    def signalling(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return real(*args, **named)

        return call

    for owner, name, epochs in ((train.Run, "resume", 1), (train, "evaluate", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, signalling(getattr(owner, name)))
            assert [run_command(train.main, flags) for _ in range(epochs)] == [75] * epochs
    assert run_command(train.main, flags) == 0
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def _two_roots(files: Files, tmp_path: Path, epochs: int, *more: str) -> list[list[str]]:
    """The flags of one run in two folders, `whole` and `parts`; an epoch has ten steps."""
    names = ("whole", "parts")
    return [[*exact_flags(files, tmp_path / name, epochs, 8), *more] for name in names]


def _start(flags: list[str]) -> WarmProcess:
    return start_warm("train", *flags, stdout=None)


def _wait_for(process: WarmProcess, text: str) -> None:
    """Return when the process has printed a line with `text`."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        if text in line:
            return
        lines.append(line)
    raise AssertionError(f"the process ended without printing {text!r}: {''.join(lines)}")


def test_ten_real_signals_at_random_moments_change_nothing(files: Files, tmp_path: Path) -> None:
    seldom = ["--checkpoint.every_epochs", "5"]
    whole, parts = _two_roots(files, tmp_path, 16, *seldom)
    moments = random.Random(0)
    stopped: list[int] = []
    while len(stopped) < 10 or len(set(stopped)) < 6:  # where nothing else runs, ten are enough
        assert len(stopped) < 40, "the signals came at the same steps: nothing was proved"
        process = _start(parts)
        _wait_for(process, "writing to")
        time.sleep(moments.uniform(0.0, 0.15))
        process.send_signal(SIGNALS[len(stopped) % len(SIGNALS)])
        _, output = process.communicate()
        assert process.returncode == 75, output
        assert "the same command continues" in output
        record = RunFolder(tmp_path / "parts" / "run").read_record()
        assert record is not None
        assert record["status"] == "interrupted"
        stopped.append(record["steps"])
    last = _start(parts)
    _, output = last.communicate()
    assert last.returncode == 0
    assert f"continuing after step {stopped[-1]:,}" in output
    assert run_command(train.main, whole) == 0
    assert stopped == sorted(stopped)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_killed_run_continues_from_its_checkpoint(files: Files, tmp_path: Path) -> None:
    saving = ["--checkpoint.every_epochs", "0", "--checkpoint.every_steps", "7"]
    whole, parts = _two_roots(files, tmp_path, 8, *saving)
    process = _start(parts)
    _wait_for(process, "epoch 3/")
    process.kill()
    process.communicate()
    again = _start(parts)
    _, output = again.communicate()
    assert again.returncode == 0
    assert "continuing after step" in output
    assert run_command(train.main, whole) == 0
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_one_and_two_threads_end_in_the_same_bits(files: Files, tmp_path: Path) -> None:
    for threads in ("1", "2"):
        flags = [*exact_flags(files, tmp_path / threads, 2, 32), "--runtime.threads", threads]
        assert run_command(train.main, flags) == 0
    one, two = outcome(tmp_path / "1"), outcome(tmp_path / "2")
    for each in (one, two):
        each["record"]["config"]["runtime"]["threads"] = None
    assert one == two
