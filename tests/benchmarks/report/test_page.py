"""The report: from nothing, hundreds of runs, hostile and broken ones; always one whole page."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import __main__ as report
from benchmarks.report import run_details
from engine.errors import run_command
from tests.support.pages import check_page
from tests.support.paths import ROOT
from tests.support.processes import python, succeed
from tests.support.records import NETS, plan_entry, record, reported, write_plan, write_run

Report = Callable[..., str]
EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> $\\alpha$ {{ 7 * 7 }} `|` ]]>"


def test_without_runs_the_page_says_how_to_start(report_of: Report) -> None:
    text = report_of()
    check_page(text)
    assert "There is no run in" in text
    assert "python -m engine.train --config-file configs/quickstart.yaml" in text
    assert "There is no sweep in" in text


def test_a_missing_folder_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(report.main, [str(tmp_path / "no"), "--out", str(tmp_path / "report")])
    assert code == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_unwritable_output_folder_is_named(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    write_run(tmp_path / "runs", "one", record())
    code = run_command(report.main, [str(tmp_path / "runs"), "--out", str(tmp_path / out)])
    assert code == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_same_runs_make_the_same_bytes(tmp_path: Path, report_of: Report) -> None:
    contents = [record(seed=seed) for seed in range(3)]
    for content in contents:
        write_run(tmp_path / "runs", f"s{content['seed']}", content)
    write_plan(tmp_path / "runs", [plan_entry(c, f"4.5/x/s{c['seed']}") for c in contents])
    first = report_of()
    assert report_of() == first


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_hostile_names_stay_text(status: str, tmp_path: Path, report_of: Report) -> None:
    content = record(settings={"run": {"name": EVIL}}, variant=EVIL, device=EVIL, precision=EVIL)
    content |= {"status": status, "error": EVIL, "versions": {EVIL: EVIL}, "device": EVIL}
    write_run(tmp_path / "runs", EVIL.replace("/", "∕"), content)
    entry = plan_entry(
        content, f"4.5/{EVIL}/s0", title=EVIL, notes=[EVIL], report=EVIL, recipe=EVIL,
        values=[reported(95.0, EVIL, EVIL, EVIL)],
    )  # fmt: skip
    write_plan(tmp_path / "runs", [entry], sweep="x<b>")
    page = check_page(report_of())
    assert "img" not in page.counts
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "<script" not in markdown and "<img" not in markdown
    for file in (tmp_path / "report" / "plots").iterdir():
        assert "<script" not in file.read_text()


def test_cells_that_spreadsheets_would_execute_are_text(tmp_path: Path, report_of: Report) -> None:
    write_run(tmp_path / "runs", "=cmd()", record(variant="+1-1"))
    report_of()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "runs.csv").read_text())))
    assert (rows[0]["folder"], rows[0]["variant"]) == ("'=cmd()", "'+1-1")
    assert float(rows[0]["test_accuracy"]) > 0.8


def test_broken_half_written_and_older_runs_are_listed(tmp_path: Path, report_of: Report) -> None:
    root = tmp_path / "runs"
    write_run(root, "half", record())
    (root / "half" / "record.json").write_text('{"format": 1, "status": "fin')
    old = {"status": "finished", "variant": "resnet18", "test_accuracy": 0.93, "format": 0}
    write_run(root, "old", record())
    (root / "old" / "record.json").write_text(json.dumps(old))
    write_run(root, "failed", record(seed=2) | {"status": "failed", "error": "loss became nan"})
    (root / "started").mkdir()
    (root / "started" / "lock").touch()
    (root / "sweeps" / "torn").mkdir(parents=True)
    (root / "sweeps" / "torn" / "plan.json").write_text("{")
    text = report_of()
    check_page(text)
    for words in (
        "half-written", "format 0, expected 1", "loss became nan", "stopped before it began",
        "sweeps/torn/plan.json: not readable", "1 of 4", "1 failed",
    ):  # fmt: skip
        assert words in text, words


def test_reported_values_are_shown_beside_measured_ones_with_their_evidence(
    tmp_path: Path, report_of: Report
) -> None:
    root = tmp_path / "runs"
    runs = [record(seed=seed, accuracy=0.955 + seed / 1000) for seed in range(3)]
    short = record(epochs=2, accuracy=0.5)
    for number, content in enumerate([*runs, short]):
        write_run(root, f"run{number}", content)
    values = [reported(95.66, "best", "report", "epoch 189 of 200")]
    entries = [plan_entry(c, f"4.5/resnet453/s{c['seed']}", values=values) for c in runs]
    entries.append(plan_entry(record("resnet224"), "4.2/resnet224/s0", values=[reported(95.46)]))
    write_plan(root, entries)
    write_plan(root, [plan_entry(short, "4.5/resnet453/s0")], sweep="rehearsal", scale=0.05)
    text = report_of()
    check_page(text)
    for words in (
        "95.66", "report, best", "epoch 189 of 200", "95.60 ± 0.10", "n = 3",
        "agrees within noise", "not run", "over budget", "5,139,018", "3 of 3 finished",
        "Epochs × 0.05", "not comparable with reported values", "4 of 4", "1 planned, not started",
        "Table 1: ResNet-18 and the five models", "<td>4,992,586</td><td>95.66 %</td><td>√</td>",
    ):  # fmt: skip
        assert words in text, words
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "reported.csv").read_text())))
    assert [(row["verdict"], row["full_length"], row["n"]) for row in rows] == [
        ("not run", "True", "0"),
        ("agrees within noise", "True", "3"),
        ("nothing reported", "False", "1"),
    ]
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "| 95.66 | report, best | 95.60 ± 0.10 | 3 |" in markdown
    links = re.findall(r"\]\((plots/[^)]+)\)", markdown)
    assert links
    assert all((tmp_path / "report" / link).exists() for link in links)


def test_plots_of_an_older_report_are_removed(tmp_path: Path, report_of: Report) -> None:
    write_run(tmp_path / "runs", "one", record())
    report_of()
    before = set((tmp_path / "report" / "plots").iterdir())
    (tmp_path / "none").mkdir()
    report_of(runs=tmp_path / "none")
    assert set((tmp_path / "report" / "plots").iterdir()) < before


def many(root: Path, count: int, epochs: int = 30) -> list[dict[str, Any]]:
    names = list(NETS)
    contents = []
    for number in range(count):
        settings = {"optim": {"lr": round(0.01 * (1 + number // 21), 4)}}
        content = record(names[number % 7], number // 7 % 3, epochs=epochs, settings=settings)
        write_run(root, f"run-{number:03}", content)
        contents.append(content)
    return contents


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_two_hundred_runs_fit_into_five_megabytes(
    count: int, tmp_path: Path, report_of: Report
) -> None:
    entries = [
        plan_entry(c, f"4.{n // 21}/{c['variant']}/s{c['seed']}", values=[reported(94.0)])
        for n, c in enumerate(many(tmp_path / "runs", count))
    ]
    write_plan(tmp_path / "runs", entries)
    text = report_of()
    check_page(text)
    assert len(text.encode()) < 5_000_000 * count / 200


def test_the_page_begins_with_the_runs_that_are_there(tmp_path: Path, report_of: Report) -> None:
    root = tmp_path / "runs"
    runs = [record(seed=n, accuracy=0.3 + n / 100, epochs=4) for n in range(3)]
    few = [record(epochs=1, accuracy=0.11, settings={"optim": {"lr": lr}}) for lr in (1.0, 2.0)]
    for number, content in enumerate([*runs, *few]):
        write_run(root, f"run{number}", content)
    own = [plan_entry(c, f"1/x/s{c['seed']}", report="", title="Mine") for c in runs]
    write_plan(root, own, sweep="mine")
    planned = [plan_entry(record("resnet224"), "4.2/resnet224/s0", values=[reported(95.46)])]
    planned.append(plan_entry(few[0], "4.3/y/s0", values=[reported(95.0)], title="Begun"))
    write_plan(root, planned)
    text = report_of("--benchmarks", str(ROOT / "benchmarks" / "results"))
    check_page(text)
    places = [text.index(f'<section id="{name}"') for name in ("best", "reported", "runs")]
    places += [text.index(f'<section id="{name}"') for name in ("benchmarks", "method")]
    assert places == sorted(places)
    cards = text[: text.index("</header>")]
    assert "31.00 ± 1.00 %" in cards and "4 epochs of 50,000 images" in cards
    assert "times FFCV" not in cards and "times FFCV" in text
    assert "optim.lr=" in text[places[0] : places[1]]
    waiting = re.findall(r'<details class="waiting"><summary>(.*?)</summary>', text)
    assert [re.sub("<.*?>", "", line) for line in waiting] == [
        "4.2 Model 5 1 setting, 1 run: not run"
    ]
    mine = text[text.index("<h3>Sweep mine</h3>") : text.index("<h3>Report 004</h3>")]
    assert "Difference" not in mine  # nothing was reported of it
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert markdown.index("31.00 ± 1.00") < markdown.index("## Reported against measured")


def test_a_result_no_better_than_guessing_says_so(tmp_path: Path, report_of: Report) -> None:
    write_run(tmp_path / "runs", "one", record(accuracy=0.101))
    text = report_of()
    assert "no better than guessing (10 %)" in text
    assert text.count("chance: 10") == 2  # among the best, and in the table of runs


def test_plots_have_names_that_say_what_they_show(tmp_path: Path, report_of: Report) -> None:
    content = record(epochs=3)
    write_run(tmp_path / "runs", "one", content)
    short = record(epochs=1, accuracy=0.5)
    write_run(tmp_path / "runs", "short", short)
    write_plan(tmp_path / "runs", [plan_entry(content, "4.1/x/s0")])
    entry = plan_entry(short, "4.1/x/s0")
    write_plan(tmp_path / "runs", [entry], sweep="rehearsal", scale=0.05)
    report_of()
    names = {path.name for path in (tmp_path / "report" / "plots").iterdir()}
    other = "epochs-0.05.cifar10.bf16.svg"
    assert names == {
        f"{kind}.{end}"
        for kind in (
            "accuracy-against-parameters", "accuracy-against-time-and-work", "curves", "curves-4.1"
        )
        for end in ("svg", other)
    }  # fmt: skip


def test_the_network_of_a_run_is_drawn_once_for_all_its_runs(
    tmp_path: Path, report_of: Report
) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs", f"s{seed}", record(seed=seed))
    write_run(tmp_path / "runs", "other", record("resnet1111"))
    write_run(tmp_path / "runs", "unknown", record("of another version"))
    text = report_of()
    check_page(text)
    assert text.count("<symbol") == 2
    assert text.count('<use href="#network-') == 4
    assert "resnet453: 4,992,586 parameters" in text


def test_of_very_many_runs_the_best_and_the_failed_have_details(
    tmp_path: Path, report_of: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_details, "MOST_DETAILED", 4)
    many(tmp_path / "runs", 7)
    write_run(tmp_path / "runs", "bad", record(seed=9) | {"status": "failed"})
    page = check_page(report_of())
    shown = [each for each in page.ids if each.startswith("run-")]
    assert len(shown) == 4 and "run-bad" in shown


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_2500_runs_take_less_than_500_megabytes(tmp_path: Path) -> None:
    many(tmp_path / "runs", 2500, epochs=200)
    code = (
        "import sys; from benchmarks.report.__main__ import main; main(sys.argv[1:]);"
        "print(open('/proc/self/status').read())"
    )
    flags = [str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--quiet"]
    status = succeed(*python("-c", code, *flags))
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) * 1024 < 500 * 10**6
    check_page((tmp_path / "report" / "index.html").read_text())


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["--help"])
    help_text = capsys.readouterr().out
    for option in ("RUNS", "--out", "--benchmarks", "--predictions", "--quiet"):
        assert option in help_text
