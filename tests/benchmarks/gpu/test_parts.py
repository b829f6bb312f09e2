"""The measurements for a GPU, in parts: rehearsed, resumed, stopped and listed without one."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from benchmarks.accuracies.time_to import command as time_to
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import card, running, staging
from benchmarks.gpu import parts as gpu_parts
from benchmarks.gpu.parts import PARTS, TESTS, Part, Setup
from benchmarks.gpu.runs import checked, parser_of
from benchmarks.gpu.staging import Source
from benchmarks.loader.goals import SECTIONS
from benchmarks.measuring import command
from engine.errors import run_command
from engine.model import VARIANTS
from tests.support.data import TRAIN_IMAGES, Files
from tests.support.paths import ROOT
from tests.support.processes import python, succeed


class Lines(Part):
    """A part that runs a few lines of Python with `result` for the path of its result."""

    def command(self, setup: Setup, result: Path, limit: float = 60.0) -> list[str]:
        text = f"import json, os, sys, time; result = {str(result)!r}\n{self.flags}"
        return [sys.executable, "-S", "-c", text]


def _part(name: str, code: str, **more: Any) -> Part:
    return Lines(name, "a few lines", 60, "", code, "", needs=(), **more)


WRITES = "json.dump({'x': 1}, open(result, 'w')); print('well')"
GOOD, BAD = _part("good", WRITES), _part("bad", "sys.exit('no such kernel')")
SLOW = _part("slow", WRITES + "; sys.stdout.flush(); time.sleep(60)")


@pytest.fixture
def call(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*argv: str, parts: tuple[Part, ...] = (GOOD,)) -> int:
        monkeypatch.setattr(gpu, "PARTS", parts)
        usual = ["--rehearse", "--output", str(tmp_path / "out"), "--data", str(files.train)]
        usual += ["--work", str(tmp_path / "work")]
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
    assert good["rehearsal"] and good["seconds"] >= 0 and good["cpu_seconds"] >= 0
    assert {"cpu", "versions", "load_before", "card_before"} <= good["conditions"].keys()
    assert good["data"] == {"name": "coloured", "images": TRAIN_IMAGES}
    assert good["left_out"] == []


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
    monkeypatch.setattr(gpu, "MOST_OF_A_REHEARSAL", 1.0)
    assert call(parts=(SLOW, GOOD)) == 1
    slow = _result(tmp_path, "slow")
    assert (slow["status"], slow["exit"]) == ("stopped at its limit", None)
    assert slow["result"] == {"x": 1} and slow["said"] == ["well"]
    assert _result(tmp_path, "good")["status"] == "done"


def test_what_a_part_left_out_is_said_and_done_by_the_next_call(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"left_out": ["seed 2"], "missing": {"x": "no compiler", "y": "not measured"}}
    first = _part("it", f"json.dump({content}, open(result, 'w')); sys.exit(75)")
    assert call(parts=(first,)) == 75
    assert _result(tmp_path, "it")["status"] == "left something out"
    assert _result(tmp_path, "it")["left_out"] == ["seed 2", "x: no compiler"]
    assert "it: left out: seed 2" in capsys.readouterr().out
    assert call(parts=(_part("it", WRITES),)) == 0
    assert _result(tmp_path, "it")["status"] == "done"


def test_what_was_left_out_is_tried_again_after_all_that_never_ran(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"missing": {"fp16": "no kernel"}}
    first = _part("first", f"json.dump({missing}, open(result, 'w'))")
    gate = _part("gate", WRITES, gate=True)
    assert call("--part", "1", parts=(first,)) == 75  # it ended with 0, and is not done
    capsys.readouterr()
    assert call("--plan", "9", parts=(first, gate, GOOD)) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == ["gate", "good", "first"]
    again = _part("gate", "sys.exit(1)", gate=True)
    assert call(parts=(first, again, GOOD)) == 1
    assert not (tmp_path / "out" / "good.json").exists()
    capsys.readouterr()
    assert call("--plan", "9", parts=(first, again, GOOD)) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == ["gate", "good", "first"]


def test_after_the_first_part_failed_nothing_else_starts_unless_it_is_named(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = _part("gate", "sys.exit('no such kernel')", gate=True)
    assert call(parts=(gate, GOOD)) == 1
    assert not (tmp_path / "out" / "good.json").exists()
    told = capsys.readouterr().err
    assert "no such kernel" in told and "nothing else is started" in told
    assert call("--part", "good", parts=(gate, GOOD)) == 0


def test_a_part_that_is_not_possible_says_why_and_the_next_starts(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = Lines("lacking", "", 60, "", WRITES, "", needs=("no_such_module",))
    assert call(parts=(lacking, GOOD)) == 0
    content = _result(tmp_path, "lacking")
    assert content["status"] == "not possible here"
    assert content["left_out"] == ["needs no_such_module: make wheelhouse"]
    assert _result(tmp_path, "good")["status"] == "done"


def test_accuracies_are_of_cifar10_alone(tmp_path: Path) -> None:
    part = _part("it", WRITES, cifar10=True)
    for name, possible in (("cifar10", True), ("synthetic", False)):
        source = Source(tmp_path / "x_train.beton", name, 50_000, drawn=not possible)
        setup = Setup(source, "cuda", False, tmp_path, tmp_path)
        assert (running.reason_against(part, setup) is None) == possible
    assert "accuracies mean nothing" in source.as_json()["drawn"]


def test_where_everything_is_killed_what_was_measured_by_then_stays(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    real = running._watched
    with monkeypatch.context() as patch:
        patch.setattr(running, "_watched", killed)
        assert call() == 130
    kept = tmp_path / "out" / f"good{running.UNFINISHED}"
    assert json.loads((kept / running.RESULT).read_text()) == {"x": 1}
    assert call() == 0  # from its beginning
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.json"]


def test_other_files_of_a_part_are_kept_beside_its_result(call: Any, tmp_path: Path) -> None:
    code = "open(os.path.join(os.path.dirname(result), 'trace.json.gz'), 'w').write('x')"
    assert call(parts=(_part("it", f"{code}; {WRITES}"),)) == 0
    assert (tmp_path / "out" / "it-trace.json.gz").read_text() == "x"


def test_when_time_is_up_no_part_starts_and_the_same_command_continues(
    call: Any, tmp_path: Path
) -> None:
    assert call("--minutes", "0.1") == 75
    assert not list((tmp_path / "out").iterdir())
    assert call() == 0


def test_a_rehearsal_never_counts_as_done(call: Any, tmp_path: Path) -> None:
    assert call() == 0
    assert running.status(tmp_path / "out", GOOD, rehearsal=True) == "done"
    assert running.status(tmp_path / "out", GOOD, rehearsal=False) is None
    (tmp_path / "out" / "good.json").write_text("{")
    assert running.status(tmp_path / "out", GOOD, rehearsal=True) is None


def test_results_do_not_name_the_folders_of_this_machine(
    call: Any, tmp_path: Path, files: Files
) -> None:
    tells = f"print({str(files.train.resolve())!r}); print({str(ROOT)!r})"
    assert call(parts=(_part("it", tells),)) == 0
    assert _result(tmp_path, "it")["said"] == [files.train.name, "."]


def test_parts_are_chosen_by_number_or_name(call: Any, tmp_path: Path) -> None:
    assert call("--part", "2", parts=(BAD, GOOD)) == 0
    assert call("--part", "good", "--again", parts=(BAD, GOOD)) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.json"]


def test_the_plan_shows_what_fits_in_the_order_of_worth_and_runs_nothing(
    call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = _part("long", WRITES, resumed=30.0)
    parts = (GOOD, _part("next", WRITES), long, _part("last", WRITES))
    assert call(parts=(GOOD,)) == 0  # takes no time any more
    capsys.readouterr()
    assert call("--plan", "1.6", parts=parts) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    assert [row[1] for row in rows] == ["good", "next", "long", "last"]
    assert [" ".join(row[3:5]) for row in rows] == ["done a", "fits 1", "fits 2", "no time"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.json"]


def test_half_an_hour_holds_all_that_shows_how_fast_and_how_right_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_command(gpu.main, ["--plan", "30", "--output", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    fits = [row[1] for row in rows if "fits" in row]
    assert fits[:6] == ["smoke", "tests", "step", "whole", "start", "time-to"]


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
    words = ["--output", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert run_command(gpu.main, [*argv, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_only_a_rehearsal_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(gpu.main, ["--output", str(tmp_path)]) == 2
    assert "--rehearse" in capsys.readouterr().err


def test_every_part_ends_within_eight_minutes_and_has_a_name_of_its_own() -> None:
    assert all(part.seconds <= gpu_parts.MOST < 480 for part in PARTS)
    assert len({part.name for part in PARTS}) == len(PARTS)


def _setup(tmp_path: Path, *, rehearsal: bool, sizes: str = "") -> Setup:
    source = Source(tmp_path / "x_train.beton", "cifar10", 50_000)
    return Setup(source, "cuda", rehearsal, tmp_path / "work", tmp_path / "records", sizes)


def _arguments(part: Part, tmp_path: Path, *, rehearsal: bool, sizes: str = "") -> Any:
    """What a part's command makes of its flags; its device need not be there."""
    setup = _setup(tmp_path, rehearsal=rehearsal, sizes=sizes)
    python, m, module, *flags = part.command(setup, tmp_path / "result.json")
    assert (python, m) == (sys.executable, "-m")
    package = ROOT.joinpath(*module.split(".")).is_dir()
    loaded = importlib.import_module(f"{module}.__main__" if package else module)
    if "--time-to" in flags:
        return time_to._arguments(flags)
    if module.startswith("benchmarks.gpu."):
        return checked(parser_of("x", ""), flags)
    return loaded._arguments(flags)


@pytest.mark.parametrize("rehearsal", [False, True])
@pytest.mark.parametrize(
    "part", [part for part in PARTS if part.name != "tests"], ids=lambda part: part.name
)
def test_every_part_is_a_command_with_flags_that_it_takes(
    part: Part, rehearsal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_check_gpu", lambda name: None)
    args = _arguments(part, tmp_path, rehearsal=rehearsal)
    assert (args.device, args.json) == ("cuda", tmp_path / "result.json")
    networks = getattr(args, "variants", None) or getattr(args, "networks", None) or []
    assert set(networks) <= set(VARIANTS)
    if hasattr(args, "minutes"):
        assert 60 * args.minutes <= gpu_parts.MOST - gpu_parts.ENDING
    for config in getattr(args, "config", []):
        assert (ROOT / config).is_file()


def test_batch_sizes_are_given_on_to_the_parts_that_compare_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_check_gpu", lambda name: None)
    (step,) = (part for part in PARTS if part.name == "step")
    assert _arguments(step, tmp_path, rehearsal=False, sizes="64,2048").sizes == (64, 2048)
    assert run_command(gpu.main, ["--rehearse", "--sizes", "0"]) == 2


def test_every_test_for_a_gpu_lies_in_the_files_that_the_part_names() -> None:
    marked = re.compile(r"pytest\.mark\.gpu\b")
    files = [
        path for path in (ROOT / "tests").rglob("test_*.py") if marked.search(path.read_text())
    ]
    named = {ROOT / name for name in TESTS}
    assert all(path in named or path.parent in named for path in files if path != Path(__file__))
    assert all(path.exists() for path in named)


def test_what_the_driver_says_is_read_and_what_it_does_not_know_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def smi(command: list[str], **options: Any) -> Any:
        keys = command[2].partition("=")[2].split(",")
        known = "clocks_event_reasons.active" not in keys
        out = ", ".join(keys) + "\n" + ", ".join(f"of {key}" for key in keys) + "\n"
        return subprocess.CompletedProcess(command, 0 if known else 2, out, "")

    monkeypatch.setattr(card.subprocess, "run", smi)
    state = card.state("cuda")
    assert state["power.draw"] == "of power.draw"
    assert "clocks_event_reasons.active" not in state
    assert state["clocks_throttle_reasons.active"] == "of clocks_throttle_reasons.active"
    assert card.state("cpu") == {}
    monkeypatch.setattr(card.subprocess, "run", mock.Mock(side_effect=FileNotFoundError))
    assert card.state("cuda:1") == {}
    assert card.software("cpu").keys() >= {"C compiler", "Python.h"}


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
def test_the_rehearsal_of_a_part_makes_tables_of_the_real_kind(
    files: Files, tmp_path: Path
) -> None:
    setup = Setup(staging.described(files.train), "cpu", True, tmp_path / "w", tmp_path / "r")
    (part,) = (part for part in PARTS if part.name == "step")
    content = running.run(part, setup, tmp_path, 170)
    assert content["status"] == "done", content["said"]
    assert set(content["result"]["details"]["tables"]) >= {"ours by batch size"}
    assert content["result"]["conditions"]["quick"]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_part_can_be_rehearsed(tmp_path: Path) -> None:
    assert run_command(gpu.main, ["--rehearse", "--output", str(tmp_path)]) in (0, 75)
    for part in PARTS:
        content = json.loads((tmp_path / f"{part.name}.json").read_text())
        why = part.name, content["said"]
        assert content["rehearsal"] and content["status"] in ("done", "left something out"), why
        assert part.name == "tests" or content["result"], part.name
