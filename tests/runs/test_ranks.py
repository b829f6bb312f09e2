"""One run on two processes: stopped and continued to the bit, also by another number of them."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from engine import train
from engine.errors import run_command
from engine.runs.directory import RunFolder
from tests.support.data import Files
from tests.support.processes import WarmProcess
from tests.support.ranks import ends, start_ranks
from tests.support.runs import exact_flags, outcome

TRAIN = ["--optim.lr", "0.02", "--optim.name", "muon"]
AVERAGED = (
    "--optim.lookahead_k 2 --optim.ema_decay 0.9 --augment.sizes 16 --augment.sizes_until 0.3 "
    "--model.stem whiten --model.stem_kernel 2 --model.transition pool --optim.stem_bias_epochs 3 "
    "--train.label_smoothing 0.1 --train.freeze_layers 1 --train.freeze_from 0.8"
)


def _flags(files: Files, root: Path, epochs: float = 5.5) -> list[str]:
    return [*exact_flags(files, root, epochs, 8), *TRAIN, *AVERAGED.split()]


def _wait_for(process: WarmProcess, text: str) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"the process ended without printing {text!r}: {''.join(lines)}")


def test_two_processes_write_one_run_of_the_same_samples(files: Files, tmp_path: Path) -> None:
    flags = [exact_flags(files, tmp_path / name, 2, 24) for name in ("one", "two")]
    codes, outs, errors = ends(start_ranks(2, *flags[1]))
    assert codes == [0, 0], errors
    assert "test accuracy" in outs[0] and outs[1] == "", "one rank reports"
    assert run_command(train.main, flags[0]) == 0
    one, two = (RunFolder(tmp_path / name / "run") for name in ("one", "two"))
    assert two.log_lines()[-1]["sample_trace"] == one.log_lines()[-1]["sample_trace"]
    ours, theirs = one.finished_record(), two.finished_record()
    assert theirs["ranks"] == 2 and "ranks" not in ours
    for key in ("fingerprint", "train_images", "test_images", "steps", "training_flops"):
        assert theirs[key] == ours[key]


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_and_the_run_goes_on_to_the_same_bits(
    files: Files, tmp_path: Path
) -> None:
    codes, _, errors = ends(start_ranks(2, *_flags(files, tmp_path / "whole")))
    assert codes == [0, 0], errors
    ranks = start_ranks(2, *_flags(files, tmp_path / "parts"))
    _wait_for(ranks[0], " 1/5.5")
    ranks[1].send_signal(signal.SIGUSR1)
    codes, _, errors = ends(ranks)
    assert codes == [75, 75], errors
    record = RunFolder(tmp_path / "parts" / "run").read_record()
    assert record is not None
    assert record["status"] == "interrupted" and record["ranks"] == 2
    assert 10 <= record["saved_step"] < 55
    shutil.copytree(tmp_path / "parts", tmp_path / "one")

    codes, _, errors = ends(start_ranks(2, *_flags(files, tmp_path / "parts")))
    assert codes == [0, 0], errors
    assert "continuing after step" in errors[0] and "began this run" not in errors[0]
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")

    assert run_command(train.main, _flags(files, tmp_path / "one")) == 0
    one, two = (RunFolder(tmp_path / name / "run") for name in ("one", "whole"))
    assert one.log_lines()[-1]["sample_trace"] == two.log_lines()[-1]["sample_trace"]
    assert one.finished_record()["fingerprint"] == two.finished_record()["fingerprint"]
    assert one.finished_record()["train_images"] == two.finished_record()["train_images"]


def test_a_mistake_ends_all_ranks_and_is_reported_once(files: Files, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run"):  # locked: only rank 0 can know
        codes, _, errors = ends(start_ranks(2, *_flags(files, tmp_path)))
    assert codes == [2, 2]
    assert "".join(errors).count("error: ") == 1 and "already running" in errors[0]
    assert "Traceback" not in "".join(errors)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_and_best_weights_on_two_ranks(
    files: Files, tmp_path: Path
) -> None:
    flags = exact_flags(files, tmp_path / "bad", 3, 8)
    codes, _, errors = ends(start_ranks(2, *flags, "--optim.lr", "1e30"))
    assert codes == [1, 1]
    assert "".join(errors).count("error: ") == 1 and "last good checkpoint" in errors[0]

    best = "--checkpoint.best --data.validation 0.3 --train.tta flip --augment.mixup 0.5".split()
    roots = [tmp_path / "two", tmp_path / "again"]
    for root in roots:
        codes, _, errors = ends(start_ranks(2, *_flags(files, root), *best))
        assert codes == [0, 0], errors
        assert "but other masks and pairs" in errors[0]
    two, again = (outcome(root) for root in roots)
    assert two == again and "best_weights" in two
    assert 0 <= two["record"]["best_weights"]["test_accuracy"] <= 1
