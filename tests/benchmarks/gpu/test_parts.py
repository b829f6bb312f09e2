"""The measurements for a GPU, in parts: rehearsed, resumed, stopped and listed without one."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import parts as gpu_parts
from benchmarks.gpu.parts import PARTS, Part, Setup
from benchmarks.loader.goals import SECTIONS
from benchmarks.measuring import command
from engine.errors import run_command
from engine.model import VARIANTS
from tests.support.data import Files
from tests.support.paths import ROOT
from tests.support.processes import python, succeed


class Lines(Part):
    """A part that runs a few lines of Python with `result` for the path of its result."""

    def command(self, setup: Setup) -> list[str]:
        text = f"import json, os, sys, time; result = {str(setup.result)!r}\n{self.flags}"
        return [sys.executable, "-S", "-c", text]


def _part(name: str, code: str) -> Part:
    return Lines(name, "a few lines", 60, "", code, "")


WRITES = "json.dump({'x': 1}, open(result, 'w')); print('well')"
GOOD, BAD = _part("good", WRITES), _part("bad", "sys.exit('no such kernel')")
SLOW = _part("slow", WRITES + "; sys.stdout.flush(); time.sleep(60)")


@pytest.fixture
def call(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*argv: str, parts: tuple[Part, ...] = (GOOD,)) -> int:
        monkeypatch.setattr(gpu, "PARTS", parts)
        usual = ["--rehearse", "--out", str(tmp_path / "out"), "--data", str(files.train)]
        return run_command(gpu.main, [*usual, *argv])

    return run


def _result(tmp_path: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    return content


def test_a_failed_part_is_noted_and_the_next_starts(call: Any, tmp_path: Path) -> None:
    assert call(parts=(BAD, GOOD)) == 1
    assert _result(tmp_path, "bad")["status"] == "failed"
    assert _result(tmp_path, "bad")["exit"] == 1
    assert _result(tmp_path, "bad")["said"] == ["no such kernel"]
    good = _result(tmp_path, "good")
    assert (good["status"], good["result"], good["said"]) == ("done", {"x": 1}, ["well"])
    assert good["rehearsal"] and good["seconds"] >= 0
    assert {"cpu", "versions", "load_before"} <= good["conditions"].keys()


def test_a_part_that_is_done_is_not_repeated(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call() == 0
    before = (tmp_path / "out" / "good.json").stat().st_mtime_ns
    assert call() == 0
    assert (tmp_path / "out" / "good.json").stat().st_mtime_ns == before
    assert "already done" in capsys.readouterr().err
    assert call("--again") == 0
    assert (tmp_path / "out" / "good.json").stat().st_mtime_ns != before


def test_a_failed_part_is_tried_again(call: Any, tmp_path: Path) -> None:
    assert call(parts=(_part("it", "sys.exit(1)"),)) == 1
    assert call(parts=(_part("it", WRITES),)) == 0
    assert _result(tmp_path, "it")["status"] == "done"


def test_a_part_is_stopped_at_its_limit_and_keeps_what_it_had(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "MOST", 1.0)
    assert call(parts=(SLOW, GOOD)) == 1
    slow = _result(tmp_path, "slow")
    assert (slow["status"], slow["exit"]) == ("stopped at its limit", None)
    assert slow["result"] == {"x": 1} and slow["said"] == ["well"]
    assert _result(tmp_path, "good")["status"] == "done"


def test_when_time_is_up_no_part_starts_and_the_same_command_continues(
    call: Any, tmp_path: Path
) -> None:
    assert call("--minutes", "0.1") == 75
    assert not list((tmp_path / "out").iterdir())
    assert call() == 0


def test_a_rehearsal_never_counts_as_done(call: Any, tmp_path: Path) -> None:
    assert call() == 0
    assert gpu.status(tmp_path / "out", GOOD, rehearsal=True) == "done"
    assert gpu.status(tmp_path / "out", GOOD, rehearsal=False) is None
    (tmp_path / "out" / "good.json").write_text("{")
    assert gpu.status(tmp_path / "out", GOOD, rehearsal=True) is None


def test_results_do_not_name_the_folders_of_this_machine(
    call: Any, tmp_path: Path, files: Files
) -> None:
    tells = f"print({str(files.train.resolve())!r}); print({str(ROOT)!r})"
    assert call(parts=(_part("it", tells),)) == 0
    assert _result(tmp_path, "it")["said"] == [files.train.name, "."]


def test_the_parts_are_listed_and_chosen_by_number_or_name(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--list", parts=PARTS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PARTS) and all("not run" in line for line in lines)
    assert call("--part", "2", "--list", parts=(BAD, GOOD)) == 0
    assert call("--part", "2", parts=(BAD, GOOD)) == 0
    assert call("--part", "good", "--again", parts=(BAD, GOOD)) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.json"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rehearse", "--part", "99"], "no part '99'"),
        (["--rehearse", "--data", "no_such.beton"], "no_such.beton: no such file"),
        (["--rehaerse"], "--rehaerse"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(gpu.main, [*argv, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_only_a_rehearsal_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(gpu.main, ["--out", str(tmp_path)]) == 2
    assert "--rehearse" in capsys.readouterr().err


def test_every_part_ends_within_eight_minutes_and_has_a_name_of_its_own() -> None:
    assert all(part.seconds <= gpu_parts.MOST < 480 for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)


def _arguments(part: Part, tmp_path: Path, *, rehearsal: bool) -> Any:
    """What a part's command makes of its flags; its device need not be there."""
    setup = Setup(tmp_path / "x_train.beton", "cuda", rehearsal, tmp_path / "result.json")
    python, m, module, *flags = part.command(setup)
    assert (python, m) == (sys.executable, "-m")
    return importlib.import_module(f"{module}.__main__")._arguments(flags)


@pytest.mark.parametrize("rehearsal", [False, True])
@pytest.mark.parametrize("part", PARTS[1:], ids=lambda part: part.name)
def test_every_part_is_a_command_with_flags_that_it_takes(
    part: Part, rehearsal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_check_gpu", lambda name: None)
    args = _arguments(part, tmp_path, rehearsal=rehearsal)
    assert (args.device, args.json) == ("cuda", tmp_path / "result.json")
    assert set(getattr(args, "variants", None) or []) <= set(VARIANTS)


def test_the_feed_leaves_out_every_section_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_check_gpu", lambda name: None)
    (feed,) = (part for part in PARTS if part.name == "feed")
    assert SECTIONS.keys() - set(_arguments(feed, tmp_path, rehearsal=False).without) == {"gpu"}


def test_ffcv_and_fastargs_are_not_needed_but_by_the_parts_that_measure_them() -> None:
    code = "import sys; sys.modules['ffcv'] = sys.modules['fastargs'] = None\n"
    code += "import benchmarks.gpu.__main__, benchmarks.step.__main__"
    succeed(*python("-c", code))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_rehearsal_of_a_part_makes_tables_of_the_real_kind(
    files: Files, tmp_path: Path
) -> None:
    setup = Setup(files.train, "cpu", rehearsal=True, result=tmp_path / "result.json")
    (part,) = (part for part in PARTS if part.name == "step")
    content = gpu.run_part(part, setup, 170)
    assert content["status"] == "done", content["said"]
    assert set(content["result"]["details"]["tables"]) >= {"ours by batch size"}
    assert content["result"]["conditions"]["quick"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_part_can_be_rehearsed(tmp_path: Path) -> None:
    assert run_command(gpu.main, ["--rehearse", "--out", str(tmp_path)]) == 0
    for part in PARTS:
        content = json.loads((tmp_path / f"{part.name}.json").read_text())
        assert content["status"] == "done" and content["rehearsal"], part.name
        assert part.name == "tests" or content["result"], part.name
