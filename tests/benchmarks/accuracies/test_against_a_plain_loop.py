"""The fast way is as accurate as the plain one (slow: half an hour on two cores)."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from engine import train
from engine.errors import run_command
from tests.support import reference_loop
from tests.support.paths import ROOT
from writers import cifar

SEEDS = (0, 1, 2)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore:dtype.*align should be passed:Warning")  # torchvision's pickle
def test_the_quickstart_on_cifar10_equals_a_plain_loop_within_noise(
    cifar10: Path, tmp_path: Path
) -> None:
    folder = ["--data.folder", str(tmp_path)]
    assert run_command(cifar.main, ["--data.source", str(cifar10), *folder]) == 0
    flags = ["--config-file", str(ROOT / "configs" / "quickstart.yaml"), "--run.root"]
    flags += [str(tmp_path / "runs"), "--data.train", str(tmp_path / "cifar10_train.beton")]
    flags += ["--data.test", str(tmp_path / "cifar10_test.beton")]
    for seed in SEEDS:
        assert run_command(train.main, [*flags, "--train.seed", str(seed)]) == 0
    records = (tmp_path / "runs").glob("*/record.json")
    ours = [json.loads(path.read_text())["test_accuracy"] for path in records]
    plain = [reference_loop.train(str(cifar10.parent), seed) for seed in SEEDS]
    spread = (statistics.variance(ours) + statistics.variance(plain)) / len(SEEDS)
    # three seeds a side know their own spread badly: a floor of half a point under the error
    error = max(spread, 0.005**2) ** 0.5
    assert abs(statistics.mean(ours) - statistics.mean(plain)) < 3 * error, (ours, plain)
