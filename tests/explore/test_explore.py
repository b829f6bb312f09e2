"""The explorer as a command, and the speed that it predicts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import train
from engine.config import options
from engine.config.schema import Config, Model
from engine.explore import __main__ as explore
from engine.explore import options as explore_options
from engine.explore import speed
from engine.explore.speed import Measurement
from engine.model import VARIANTS, budget, resolve
from tests.support import processes
from tests.support.data import Files
from tests.support.runs import SHORT, Call, Command, run_of

SMALL = "--layers 2,3 --widths 16,24,32,64 --blocks 1-3 --conv-kernels 3 --se none,stem".split()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without runs."""
    monkeypatch.chdir(tmp_path)


def test_the_list_fits_the_budget_and_names_what_was_compared(call: Call) -> None:
    code, out, err = call(explore.main, "--budget", "200k", *SMALL, "--limit", "5")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == "design parameters GFLOPs training depth relative speed".split()
    assert all(int(line.split()[1].replace(",", "")) <= 200_000 for line in lines[1:6])
    assert len({len(line) for line in lines[:6]}) == 1
    assert "Pareto set over more parameters, less FLOPs, more depth, more images/s" in out
    assert "within 200,000 parameters" in out
    assert "Relative speed: from the FLOPs alone, resnet453 = 1" in out


def test_every_limit_is_kept_in_json(call: Call) -> None:
    argv = ["--budget", "150_000", "--min-parameters", "50000", "--max-flops", "2e7"]
    argv += ["--min-depth", "8", "--max-depth", "12", *SMALL, "--json", "--limit", "0"]
    code, out, _ = call(explore.main, *argv)
    result = json.loads(out)
    assert code == 0
    assert len(result["designs"]) == result["pareto"] <= result["within"] <= result["grid"]
    assert result["speed"]["kind"] == "relative"
    assert result["space"]["budget"] == 150_000
    for design in result["designs"]:
        model = options.read(
            Config, [f"--model.{key}={word(value)}" for key, value in design["model"].items()],
            program="test", summary="",
        ).config.model  # fmt: skip
        variant = resolve(model)
        assert budget.parameters(variant).total == design["parameters"]
        assert budget.flops(variant)._asdict() == design["flops"]
        assert 50_000 <= design["parameters"] <= 150_000
        assert design["flops"]["forward"] <= 2e7
        assert 8 <= design["depth"] <= 12
        assert design["images_per_second"] is None and design["relative_speed"] > 0


def test_designs_may_have_the_parts_of_a_variant(call: Call) -> None:
    argv = ["--parts", "house94", "--layers", "3", "--blocks", "1,2", "--widths", "64,256,384"]
    argv += ["--growth", "1-4", "--conv-kernels", "3", "--json", "--limit", "0"]
    code, out, _ = call(explore.main, *argv, "--se", "none")
    designs = {design["name"]: design for design in json.loads(out)["designs"]}
    assert code == 0 and all(name.startswith("house") for name in designs)
    house = designs["house94"]
    assert house["parameters"] == 4_961_976
    assert (
        resolve(Model(**{key: word_of(value) for key, value in house["model"].items()}))
        == (VARIANTS["house94"])
    )
    code, _, err = call(explore.main, *argv, "--preactivation", "true")
    assert code == 2 and "--transition: a pool transition ends with batch norm" in err
    code, _, err = call(explore.main, "--parts", "hous94")
    assert code == 2 and "did you mean house94" in err


def word_of(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def test_the_reports_final_networks_are_compared_with_the_list(call: Call) -> None:
    grid = ["--layers", "3", "--widths", "32,64,128,256", "--blocks", "2-5", "--conv-kernels", "3"]
    _, out, _ = call(
        explore.main, *grid, "--json", "--limit", "0", "--skip-kernels", "1", "--se", "none"
    )
    result = json.loads(out)
    finals = {each["name"]: each["beaten_by"] for each in result["finals"]}
    names = "se_resnet443 resnet4643_w32 resnet22222_maxpool_skip resnet453"
    assert finals.keys() == set(names.split())
    listed = {design["name"]: design for design in result["designs"]}
    for name, better in finals.items():
        variant = VARIANTS[name]
        for other in better:
            assert listed[other]["parameters"] >= budget.parameters(variant).total
            assert listed[other]["flops"]["forward"] <= budget.flops(variant).forward
            assert listed[other]["depth"] >= budget.depth(variant)
    assert ("resnet453" in listed) == (finals["resnet453"] == [])
    _, out, _ = call(explore.main, *grid)
    assert "resnet453 (4,992,586; 1.748 GFLOPs; depth 26): " in out
    _, out, _ = call(explore.main, *SMALL, "--budget", "100k")
    assert "resnet453 (" not in out
    _, out, _ = call(explore.main, *SMALL, "--max-flops", "1.7G")
    assert "resnet453 (" not in out and "se_resnet443 (" in out


def word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_designs_over_the_default_budget_raise_model_budget(call: Call) -> None:
    argv = ["--budget", "7M", "--min-parameters", "6M", "--layers", "3", "--blocks", "4-6"]
    argv += ["--widths", "64,128,256", "--growth", "2", "--conv-kernels", "3", "--json"]
    _, out, _ = call(explore.main, *argv)
    (first, *_) = json.loads(out)["designs"]
    assert first["model"]["budget"] == first["parameters"] > 6_000_000


def test_a_written_configuration_trains(call: Call, tmp_path: Path, files: Files) -> None:
    argv = [*SMALL, "--budget", "30000", "--write", "2", "--out", "found/here"]
    code, out, _ = call(explore.main, *argv)
    assert code == 0
    written = sorted((tmp_path / "found" / "here").glob("*.yaml"))
    assert len(written) == 2
    assert all(str(path.relative_to(tmp_path)) in out for path in written)
    text = written[0].read_text()
    assert f"--config-file found/here/{written[0].name}" in text
    assert yaml.safe_load(text).keys() == {"model"}
    machine = [*SHORT[SHORT.index("--runtime.device") :], *files.flags(), "--dry-run"]
    code, shown, _ = call(train.main, "--config-file", written[0], *machine)
    assert code == 0
    assert "two steps, loss" in shown
    assert call(explore.main, *argv)[0] == 0  # the same again is no clash
    written[0].write_text(text + "train: {epochs: 3}\n")
    code, _, err = call(explore.main, *argv)
    assert code == 2 and "holds something else" in err
    assert "epochs: 3" in written[0].read_text()


def test_all_problems_of_the_command_line_are_reported_at_once(call: Call) -> None:
    code, out, err = call(
        explore.main, "--budget", "many", "--layers", "0,3", "--blocks", "8-1", "--growth", "3-2",
        "--se", "all", "--objectives", "parameters", "--max-flop", "5", "--runs", "nowhere",
        "--limit", "1.5", "--conv-kernels", "3,", "--write", "--sort", "size", "--json=yes",
        "--config-file", "x.yaml", "stray",
    )  # fmt: skip
    assert (code, out) == (2, "")
    for name in ("--budget", "--layers", "--blocks", "--growth", "--se", "--objectives", "--runs",
                 "--limit", "--conv-kernels", "--write", "--sort", "--json", "x.yaml",
                 "stray"):  # fmt: skip
        assert name in err, name
    assert "--max-flop: no such option; did you mean --max-flops?" in err
    assert all(line.startswith("error: ") for line in err.splitlines())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--budget", "5", "--min-parameters", "6"], "--min-parameters"),
        (["--min-depth", "9", "--max-depth", "8"], "--min-depth"),
        (["--write", "30"], "raise --limit"),
        (["--layers", "9"], "room for"),
        (["--layers", "7", "--side", "8"], "room for"),
        (["--se", "stem", "--widths", "8", "--layers", "2"], "--se-reduction"),
        (["--budget", "100"], "none of"),
        (["--budget", "0"], "--budget"),
        (["--widths", "1-1000"], "at most 256 values"),
        (["--widths", "1-200", "--layers", "12", "--side", "4096"], "at most 20,000,000,000"),
        (["--out", "a\nb"], "control"),
    ],
)
def test_contradicting_or_empty_limits_are_refused(
    call: Call, argv: list[str], message: str
) -> None:
    code, out, err = call(explore.main, *argv)
    assert (code, out) == (2, "")
    assert message in err


def test_help_names_every_option(call: Call) -> None:
    code, out, _ = call(explore.main, "--help")
    assert code == 0
    for option in explore_options.OPTIONS:
        assert f"--{option.name}" in out


def test_importing_the_explorer_imports_no_torch() -> None:
    program = (
        "import sys, engine.explore; print(sorted({'torch', 'numba', 'ffcv'} & {*sys.modules}))"
    )
    assert processes.succeed(*processes.python("-c", program)).strip() == "[]"


def networks(*names: str) -> list[Measurement]:
    """Networks of a machine that takes 1 ps an operation, 3 ns a value and 5 us an image."""
    variants = [VARIANTS[name] for name in names]
    costs = [(budget.flops(each).training, budget.values(each)) for each in variants]
    return [Measurement(f, v, 1 / (1e-12 * f + 3e-9 * v + 5e-6)) for f, v in costs]


def test_the_fit_recovers_the_speed_of_a_machine_for_new_networks() -> None:
    known = networks("resnet453", "resnet1111", "resnet2111_w16", "resnet211_skip9", "resnet11")
    result = speed.fitted(known, {"device": "x", "precision": "bf16", "batch_size": 128})
    assert result.seconds == pytest.approx((1e-12, 3e-9, 5e-6), rel=1e-6)
    (other,) = networks("resnet5743_w32")
    assert float(result(other.training, other.values)) == pytest.approx(other.images_per_second)
    assert len(result.errors) == 5
    assert "predicted from 5 measured networks on x (bf16, batch 128)" in result.label


def test_one_measured_network_gives_speed_by_flops_alone() -> None:
    (only,) = networks("resnet453")
    result = speed.fitted([only], {"device": "x", "precision": "fp32", "batch_size": 64})
    assert float(result(only.training, 0)) == pytest.approx(only.images_per_second)
    assert float(result(only.training * 2, 0)) == pytest.approx(only.images_per_second / 2)
    assert "1 measured network " in result.label and "too few" in result.label


def test_no_factor_of_the_fit_is_negative() -> None:
    odd = [Measurement(10**9, 10**6, 100.0), Measurement(2 * 10**9, 10**5, 90.0),
           Measurement(10**8, 10**7, 500.0), Measurement(5 * 10**9, 10**4, 80.0)]  # fmt: skip
    assert all(share >= 0 for share in speed.fitted(odd, {}).seconds)
    assert math.isfinite(float(speed.fitted(odd, {})(10**9, 10**6)))


def test_finished_runs_alone_predict_speed(command: Command, tmp_path: Path, call: Call) -> None:
    assert not speed.from_runs(tmp_path / "runs").measured
    assert command("--train.epochs", "1") == 0
    folder = run_of(tmp_path)
    record = json.loads(folder.record.read_text())
    faster = json.dumps(record | {"status": "running", "images_per_second": 10**9})
    for number, content in enumerate(["{", "{}", '{"config": 3}', faster]):
        (tmp_path / "runs" / str(number)).mkdir()
        (tmp_path / "runs" / str(number) / "record.json").write_text(content)
    result = speed.from_runs(tmp_path / "runs")
    assert result.measured and result.networks == 1
    flops = record["flops"]["training"]
    assert float(result(flops, 0)) == pytest.approx(record["images_per_second"])
    code, out, _ = call(explore.main, *SMALL, "--json", "--limit", "1", "--runs", "runs")
    assert code == 0
    content = json.loads(out)
    assert content["speed"]["kind"] == "predicted"
    assert content["designs"][0]["images_per_second"] > 0
    assert content["designs"][0]["relative_speed"] is None
    _, out, _ = call(explore.main, *SMALL)
    assert "images/s (predicted)" in out and record["device"] in out
