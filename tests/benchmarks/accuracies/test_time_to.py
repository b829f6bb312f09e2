"""Time to an accuracy: what is planned and kept, and what the records of all sessions say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracies import __main__ as accuracies
from benchmarks.accuracies.time_to import command, records, summary, text, trial
from benchmarks.accuracies.time_to.records import AIRBENCH, OURS, REPORT, Trial
from engine.errors import RESUMABLE, RunFailed
from engine.step import rates
from tests.support import peer_scripts
from tests.support.data import Files
from tests.support.runs import Call
from tests.support.time_to import outcome, write_record

CONFIG = "model: {blocks: [1, 1], widths: [4]}\ntrain: {epochs: 2, batch_size: 16}\n"


@pytest.fixture
def words(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A call with ours, two lengths of airbench, and a report's recipe."""
    monkeypatch.setitem(rates.PRODUCT, "cpu", 32)
    checkout = peer_scripts.airbench_checkout(tmp_path / "airbench", monkeypatch)
    for name in ("mine.yaml", "theirs.yaml"):
        (tmp_path / name).write_text(CONFIG)
    return [
        *("--time-to", "94", "--config", str(tmp_path / "mine.yaml"), "--rounds", "2"),
        *("--airbench", str(checkout), "--airbench-epochs", "1,2", "--threads", "1"),
        *("--report", str(tmp_path / "theirs.yaml"), "--data", str(files.train)),
        *("--records", str(tmp_path / "kept")),
    ]


def test_a_plan_takes_turns_and_runs_nothing(words: list[str], call: Call, tmp_path: Path) -> None:
    code, out, err = call(accuracies.main, *words, "--plan")
    lines = out.splitlines()
    assert (code, err) == (0, "") and not (tmp_path / "kept").exists()
    assert [line.split(": about")[0] for line in lines[:8]] == [
        "seed 0   ours: mine", "seed 0   airbench94_muon: 1 epochs",
        "seed 0   airbench94_muon: 2 epochs", "seed 0   a report's recipe: theirs",
        "seed 1   airbench94_muon: 1 epochs", "seed 1   airbench94_muon: 2 epochs",
        "seed 1   ours: mine", "seed 1   a report's recipe: theirs",
    ]  # fmt: skip
    assert lines[8].endswith("hours in all")


def test_runs_are_kept_as_they_come_and_not_repeated(
    words: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, int, float]] = []

    def answer(module: str, task: dict[str, Any], **more: Any) -> tuple[dict[str, Any], int]:
        assert module == trial.__name__
        ran.append((task["kind"], task["seed"], task["most_seconds"]))
        if len(ran) == 5:
            raise RunFailed("killed")
        return outcome(0.9 + 0.01 * task["epochs"], 100.0 + len(ran)), 0

    monkeypatch.setattr(command.child, "answer", answer)
    code, _, err = call(accuracies.main, *words)
    assert code == 1 and "failed: killed" in err
    assert ran[:4] == [
        ("ours", 0, 0.0), ("airbench", 0, 0.0), ("airbench", 0, 0.0), ("ours", 0, 101.0)
    ]  # fmt: skip
    assert len(list((tmp_path / "kept").glob("*.json"))) == 7
    code, again, _ = call(accuracies.main, *words)
    assert (code, len(ran)) == (0, 9)  # the one that failed, alone
    assert "cut after 1:4" in again and "airbench94_muon, 94 %" in again
    code, plan, _ = call(accuracies.main, *words, "--plan")
    assert plan.count(": recorded") == 8 and "about 0.0 hours" in plan
    other = [word if word != "1" else "2" for word in words]  # threads: other conditions
    assert ": recorded" not in call(accuracies.main, *other, "--plan")[1]


def test_no_run_is_started_that_would_end_too_late(
    words: list[str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.child, "answer", None)
    code, out, err = call(accuracies.main, *words, "--minutes", "0")
    assert code == RESUMABLE and out == "Nothing has been measured yet.\n"
    assert err.count("no time left for") == 8


def test_a_rehearsal_runs_ours_and_a_peer_and_says_that_it_means_nothing(
    words: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(module: str, task: dict[str, Any], **more: Any) -> tuple[dict[str, Any], int]:
        return trial.main(json.dumps(task)), 0

    monkeypatch.setattr(command.child, "answer", answer)
    monkeypatch.setattr(command, "TINY_IMAGES", 64)
    at = words.index("--report")
    words = [*words[:at], *words[at + 4 :], "--rounds", "1", "--airbench-epochs", "2"]
    code, out, err = call(accuracies.main, *words, "--rehearse")
    assert code == 0, err
    assert out.startswith("A rehearsal of a few steps") and "ours: mine" in out
    kept = records.read_all(tmp_path / "kept", [])
    assert [(each.family, each.rehearsal) for each in kept] == [(AIRBENCH, True), (OURS, True)]
    assert all(each.product_tflops and each.seconds > 0 for each in kept)
    assert summary.entries(kept) == []  # no figures


def test_mistakes_are_refused_before_anything_runs(
    words: list[str], call: Call, tmp_path: Path
) -> None:
    for wrong, message in (
        ([*words, "--config", "no.yaml"], "no.yaml: no such file"),
        ([*words, "--time-to", "194"], "argument --time-to: expected a number"),
        ([*words, "--ffcv", str(tmp_path)], "expected a checkout of github.com/libffcv/ffcv"),
        (
            [*words, "--config", f"{tmp_path}/mine.yaml,{tmp_path}/mine.yaml"],
            "are called ours-mine",
        ),
    ):
        code, _, err = call(accuracies.main, *wrong)
        assert code == 2 and message in err, err
    (tmp_path / "airbench" / "airbench94_muon.py").write_text("print()")
    code, _, err = call(accuracies.main, *words)
    assert code == 2 and "not the version that is known here" in err


def _trials(folder: Path) -> list[Trial]:
    problems: list[str] = []
    read = records.read_all(folder, problems)
    assert problems == []
    return read


def test_the_time_to_an_accuracy_lies_between_the_lengths_that_were_measured(
    tmp_path: Path,
) -> None:
    for seed, noise in enumerate((-0.1, 0.1)):
        write_record(tmp_path, OURS, "ours: mine", seed, 94.1 + noise, 450.0)
        for epochs, accuracy, seconds in ((8, 93.2, 400.0), (10, 93.7, 500.0), (12, 94.2, 625.0)):
            label = f"{AIRBENCH}: {epochs} epochs"
            write_record(tmp_path, AIRBENCH, label, seed, accuracy + noise, seconds)
        write_record(tmp_path, REPORT, f"{REPORT}: old", seed, 40.0, 450.0, cut=450.0)
    found = summary.entries(_trials(tmp_path))
    assert [entry.family for entry in found] == [OURS, *[AIRBENCH] * 3, REPORT]
    ours, theirs, report = (
        next(each for each in summary.time_to(found, 94.0) if each.family == family)
        for family in (OURS, AIRBENCH, REPORT)
    )
    assert ours.seconds == 450.0 and ours.is_shortest
    assert theirs.seconds == pytest.approx(500 * 1.25**0.6)  # 0.3 of 0.5 points further
    assert report.seconds is None
    share = summary.share_of_their_time(found[0], found, AIRBENCH)
    assert share == pytest.approx(450 / (500 * 1.25**0.8))
    (cut,) = [entry for entry in found if entry.is_cut]
    assert cut.whole_hours == pytest.approx(50 * 450 / 3600)
    page = text.page(found, 94.0, rehearsal=False)
    assert f"takes {share:.2f} of airbench94_muon's time" in page
    assert page.endswith(": met.\n") and "predicted" in page and "@ abc" in page
    assert "single: 3.0 s, 0.002 PFLOPs; six: 18.0 s, 0.012 PFLOPs" in page


def test_differences_have_welchs_intervals(tmp_path: Path) -> None:
    for seed, (mine, other) in enumerate(((94.0, 93.0), (94.2, 93.1), (94.1, 93.4))):
        write_record(tmp_path, OURS, "ours: mine", seed, mine, 100.0 + seed)
        write_record(tmp_path, AIRBENCH, "their", seed, other, 200.0 + seed)
    found = summary.entries(_trials(tmp_path))
    (versus,) = summary.against(found[0], found)
    assert versus.points == pytest.approx(94.1 - 279.5 / 3)
    assert versus.points_interval is not None and versus.points_interval[0] > 0
    assert versus.ratio == pytest.approx(0.5, abs=0.01) and versus.ratio_interval is not None
    low, high = versus.ratio_interval
    assert low < versus.ratio < high and math.isclose(low * high, versus.ratio**2)
    one = summary.against(found[0], [*found[:1], summary.Entry("x", "y", found[1].trials[:1])])
    assert one[0].points_interval is None  # one run has no interval


def test_what_was_not_measured_is_said_so(tmp_path: Path) -> None:
    write_record(tmp_path, OURS, "ours: mine", 0, 93.0, 450.0)
    page = text.page(summary.entries(_trials(tmp_path)), 94.0, rehearsal=False)
    assert "not yet measured" in page and "not reached by any that was measured" in page
    assert text.page([], 94.0, rehearsal=False) == "Nothing has been measured yet.\n"


def test_damaged_records_are_named_and_left_out(tmp_path: Path) -> None:
    write_record(tmp_path, OURS, "ours: mine", 0, 94.0, 450.0)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"format": 1, "outcome": {"seconds": "nan"}}')
    problems: list[str] = []
    (kept,) = records.read_all(tmp_path, problems)
    assert kept.accuracy == pytest.approx(94.0) and len(kept.curve) == 2
    assert len(problems) == 2 and "broken.json: not readable" in problems[0]


def test_settings_that_differ_are_never_averaged(tmp_path: Path) -> None:
    write_record(tmp_path, OURS, "ours: mine", 0, 94.0, 450.0)
    write_record(tmp_path, OURS, "ours: mine", 0, 94.4, 450.0, setting="other" + "0" * 8)
    found = summary.entries(_trials(tmp_path))
    assert [entry.accuracy.n for entry in found] == [1, 1]
    assert {"other000" in entry.label for entry in found} == {True, False}
