"""The flags that the benchmarks of loader and step share, and those of each."""

import pytest
import torch

from benchmarks.loader import __main__ as loader
from benchmarks.step import __main__ as step
from engine.errors import run_command

BOTH = [loader.main, step.main]
WRONG = [
    (["--pairs", "0"], "expected a whole number, at least 1, found 0", BOTH),
    (["--device", "tpu"], "expected cpu, cuda or cuda:N", BOTH),
    (["--json", "no/such/folder/x.json"], "folder does not exist", BOTH),
    (["--data", "no_such.beton"], "no_such.beton: no such file", BOTH),
    (["--qick"], "--qick", BOTH),
    (["--samples", "many"], "at least 1, found many", [loader.main]),
    (["--without", "gather,nothing"], "found nothing", [loader.main]),
    (["--variants", "resnet45"], "found resnet45; did you mean resnet453?", [step.main]),
    (["--only", "pairs,nothing"], "found nothing", [step.main]),
]


@pytest.mark.parametrize(
    ("main", "argv", "message"),
    [(main, argv, message) for argv, message, mains in WRONG for main in mains],
)
def test_a_wrong_flag_is_named_and_ends_with_2(main, argv, message, capsys):
    assert run_command(main, argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("main", BOTH)
def test_a_gpu_where_there_is_none_is_refused(main, capsys):
    assert run_command(main, ["--device", "cuda"]) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err
