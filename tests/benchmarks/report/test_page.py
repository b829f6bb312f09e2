"""The report: from nothing, one run, hundreds, hostile and broken ones; always one whole page."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.report import __main__ as report
from benchmarks.report import error_analysis, reproduce, speed
from engine.config import options
from engine.config.schema import Config, as_dict
from engine.errors import run_command
from tests.support.paths import ROOT
from tests.support.records import NETS, plan_entry, record, reported, write_plan, write_run
from tests.support.runs import Command

Report = Callable[..., str]
EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> $\\alpha$ {{ 7 * 7 }} `|` ]]>"
VOID = {"meta", "img", "input", "br", "wbr", "link", "hr"}


@pytest.fixture
def report_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    """Makes a report of the runs in `tmp_path / "runs"`; gives the page."""

    def call(*flags: str, runs: Path | None = None) -> str:
        (tmp_path / "runs").mkdir(exist_ok=True)
        root = str(runs or tmp_path / "runs")
        code = run_command(report.main, [root, "--out", str(tmp_path / "report"), *flags])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert captured.out.endswith(f"{tmp_path}/report/index.html\n")
        return (tmp_path / "report" / "index.html").read_text()

    return call


class Page(HTMLParser):
    """Fails on tags that are not closed; keeps what an attack or a leak would show in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def check_whole(text: str) -> Page:
    """What every page keeps to."""
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.counts["script"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    outside = [
        v for n, v in page.attributes if n in ("src", "href") and not v.startswith(("#", "data:"))
    ]
    assert outside == []
    anchors = {
        v[1:] for n, v in page.attributes if n in ("href", "xlink:href") and v.startswith("#")
    }
    assert anchors - set(page.ids) == set()
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"|http-equiv', "", text)
    return page


def test_no_runs_make_a_page_that_says_what_to_do(report_of: Report) -> None:
    text = report_of("--benchmarks", "nowhere")
    check_whole(text)
    assert "There is no run in" in text
    assert "python -m engine.train --config-file configs/quickstart.yaml" in text
    assert "There is no sweep in" in text


def test_a_folder_that_is_not_there_is_a_mistake_of_the_caller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(report.main, [str(tmp_path / "no"), "--out", str(tmp_path / "report")])
    assert code == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_where_nothing_can_be_written_is_named(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    write_run(tmp_path / "runs", "one", record())
    code = run_command(report.main, [str(tmp_path / "runs"), "--out", str(tmp_path / out)])
    assert code == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_one_real_run_shows_what_it_gets_wrong_and_how_to_make_it_again(
    command: Command, tmp_path: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    capsys.readouterr()
    text = report_of("--predictions", "all")
    check_whole(text)
    for words in (
        "Accuracy per class",
        "Confusion matrix",
        "The 25 worst of 41 test images",
        "green",
    ):
        assert words in text
    assert text.count('role="img" aria-label="Test image') == 25
    assert text.count("data:image/png;base64,") == 25
    made = re.search(r"<pre[^>]*><code>(.*?)</code>", text)
    assert made is not None
    again = made[1].split()[3:]
    assert command(*again) == 0
    assert "this run is finished" in capsys.readouterr().err


def test_what_was_computed_once_is_kept_and_a_damaged_copy_is_made_again(
    command: Command, tmp_path: Path, report_of: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command() == 0
    first = report_of()
    (kept,) = (tmp_path / "report" / "predictions").iterdir()
    computed = error_analysis._computed
    monkeypatch.setattr(error_analysis, "_computed", lambda run: pytest.fail("computed again"))
    assert report_of("--predictions", "none") == first
    kept.write_text(kept.read_text()[:-99])
    monkeypatch.setattr(error_analysis, "_computed", computed)
    assert report_of() == first


def test_the_same_runs_make_the_same_bytes(tmp_path: Path, report_of: Report) -> None:
    contents = [record(seed=seed) for seed in range(3)]
    for content in contents:
        write_run(tmp_path / "runs", f"s{content['seed']}", content)
    write_plan(tmp_path / "runs", [plan_entry(c, f"4.5/x/s{c['seed']}") for c in contents])
    first = report_of()
    assert report_of() == first


def test_weights_or_data_that_are_missing_are_said_to_be(
    command: Command, tmp_path: Path, report_of: Report
) -> None:
    assert command() == 0
    (folder,) = (tmp_path / "runs").iterdir()
    content = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(
        json.dumps(content | {"data_digests": {"train": "0", "test": "0"}})
    )
    assert "is not the file that the run was tested on" in report_of()
    content["config"]["data"]["test"] = "gone.beton"
    (folder / "record.json").write_text(json.dumps(content))
    assert "the test set gone.beton is not there" in report_of()
    (folder / "weights.safetensors").unlink()
    assert "weights.safetensors is not there" in report_of()


def test_damaged_weights_cost_their_pictures_alone(
    command: Command, tmp_path: Path, report_of: Report
) -> None:
    assert command() == 0
    (weights,) = (tmp_path / "runs").glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    text = report_of()
    check_whole(text)
    assert "the worst test images are missing: " in text


def test_the_time_for_predictions_is_limited_and_its_end_is_said(
    command: Command, report_of: Report
) -> None:
    assert command() == 0
    assert "left out by --predictions none" in report_of("--predictions", "none")


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
    page = check_whole(report_of())
    assert "img" not in page.counts
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "<script" not in markdown and "<img" not in markdown
    for file in (tmp_path / "report" / "plots").iterdir():
        assert "<script" not in file.read_text()


def test_cells_that_spreadsheets_would_run_are_text(tmp_path: Path, report_of: Report) -> None:
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
    (root / "begun").mkdir()
    (root / "begun" / "lock").touch()
    (root / "sweeps" / "torn").mkdir(parents=True)
    (root / "sweeps" / "torn" / "plan.json").write_text("{")
    text = report_of()
    check_whole(text)
    for words in (
        "half-written", "format 0, expected 1", "loss became nan", "stopped before it began",
        "sweeps/torn/plan.json: not readable", "1 of 4", "1 failed",
    ):  # fmt: skip
        assert words in text, words


def test_reported_stands_beside_measured_with_its_evidence(
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
    check_whole(text)
    for words in (
        "95.66", "report, best", "epoch 189 of 200", "95.60 ± 0.10", "n = 3",
        "agrees within noise", "not run", "over budget", "5,139,018", "3 of 3 finished",
        "Epochs × 0.05", "not comparable with reported values", "4 of 4", "1 planned, not begun",
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


def test_old_plots_do_not_stay_beside_a_new_page(tmp_path: Path, report_of: Report) -> None:
    write_run(tmp_path / "runs", "one", record())
    report_of()
    before = set((tmp_path / "report" / "plots").iterdir())
    none = tmp_path / "none"
    none.mkdir()
    report_of("--benchmarks", str(none), runs=none)
    assert set((tmp_path / "report" / "plots").iterdir()) < before


def test_the_benchmarks_are_drawn_with_their_ratios(tmp_path: Path, report_of: Report) -> None:
    step = {
        "ratio_vs_plain": {"resnet453": 2.2},
        "images_per_second": {"resnet453": 70.0},
        "tflops": {"resnet453": 0.37},
        "goals": [{"goal": "S1", "what": "times plain", "wanted": "at least 2.5x", "unit": "x",
                   "measured": 2.2, "verdict": "missed"}],
        "missing": {},
        "details": {
            "matmul_peak_tflops": {"resnet453": {"precision": "bf16", "tflops": 0.8}},
            "pairs": {"resnet453: ours / plain PyTorch": {
                "ratio": {"median": 2.2, "min": 2.0, "max": 2.4, "values": [2.2]},
                "first": [70.0, 71.0], "second": [32.0, 33.0]}},
        },
        "conditions": {"cpu": "A CPU", "threads": 2},
    }  # fmt: skip
    folder = tmp_path / "results" / "machine"
    folder.mkdir(parents=True)
    (folder / "step.json").write_text(json.dumps(step))
    source = ROOT / "benchmarks" / "results" / "cpu-2-cores" / "loader.json"
    (folder / "loader.json").write_text(source.read_text())
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text("{}")
    text = report_of("--benchmarks", str(tmp_path / "results"))
    check_whole(text)
    for words in (
        "14.6× (13.4 to 16)", "2.2× (2 to 2.4)", "The step is the bottleneck", "46% of the peak",
        "matrix product, measured: 0.8 TFLOP/s", "machine/broken.json: not readable", "A CPU",
    ):  # fmt: skip
        assert words in text, words


def test_parts_measured_on_a_gpu_are_read_and_rehearsals_are_not(tmp_path: Path) -> None:
    goal = {"goal": "G1", "what": "augmenting", "wanted": "at most 0.25 ms", "unit": "ms"}
    feed = {
        "ratio_uint8_vs_ffcv": None,
        "goals": [goal | {"measured": 0.0002, "verdict": "met"}],
        "details": {"gpu_seconds_per_50000": {"bfloat16": {"128": {"median": 0.0002}}}},
        "conditions": {"gpu": "A GPU"},
    }
    step = {
        "ratio_vs_plain": {},
        "goals": [goal | {"measured": None, "verdict": "not measured"}],
        "details": {"tables": {"ours by mode": [{"what": "eager", "images/s": 12345.6}]}},
        "conditions": {"gpu": "A GPU", "quick": True},
    }
    folder = tmp_path / "gpu"
    folder.mkdir()
    for name, result in (("a-step", step), ("feed", feed)):
        part = {"part": name, "status": "done", "rehearsal": False, "result": result}
        (folder / f"{name}.json").write_text(json.dumps(part))
    tiny = {"part": "tiny", "rehearsal": True, "result": feed | {"conditions": {"gpu": "tiny"}}}
    (folder / "tiny.json").write_text(json.dumps(tiny))
    (bench,) = speed.read(tmp_path, [])
    assert bench.feed == {"bfloat16, batch 128": pytest.approx(2.5e8)}
    assert [(each["measured"], each["verdict"]) for each in bench.goals] == [("0.2 ms", "met")]
    assert bench.tables == {"ours by mode": [{"what": "eager", "images/s": "12,346"}]}
    assert ["indicative only" in line for line in bench.conditions] == [True, False]


def test_the_command_of_a_run_means_its_settings_again() -> None:
    config = as_dict(Config())
    config["model"] |= {"blocks": [2, 1, 1], "widths": [16], "se": "stem"}
    config["optim"] |= {"lr": 5e-05, "nesterov": True, "name": "adam"}
    config["augment"] |= {"mean": "data", "std": [0.247, 0.243, 0.261], "flip": "none"}
    config["run"] |= {"name": "a name with spaces; and $more", "root": "-odd"}
    config["runtime"] |= {"compile": False}
    dotted = {f"{s}.{k}": v for s, values in config.items() for k, v in values.items()}
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {reproduce.command(dotted)}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    argv = shell.stdout.splitlines()[3:]
    assert as_dict(options.read(Config, argv, program="p", summary="s").config) == config


def many(root: Path, count: int, sweeps: bool) -> None:
    names = list(NETS)
    contents = []
    for number in range(count):
        settings = {"optim": {"lr": round(0.01 * (1 + number // 21), 4)}}
        content = record(names[number % 7], number // 7 % 3, epochs=30, settings=settings)
        write_run(root, f"run-{number:03}", content)
        contents.append((number, content))
    if sweeps:
        entries = [
            plan_entry(c, f"4.{n // 21}/{c['variant']}/s{c['seed']}", values=[reported(94.0)])
            for n, c in contents
        ]
        write_plan(root, entries)


def test_two_hundred_runs_fit_into_five_megabytes(tmp_path: Path, report_of: Report) -> None:
    many(tmp_path / "runs", 200, sweeps=True)
    text = report_of()
    check_whole(text)
    assert len(text.encode()) < 5_000_000


def test_five_hundred_records_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    many(tmp_path / "runs", 500, sweeps=False)
    code = (
        "import sys; from benchmarks.report.__main__ import main; main(sys.argv[1:]);"
        "print(open('/proc/self/status').read())"
    )
    flags = [str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak is not None
    assert int(peak[1]) * 1024 < 10**9
    check_whole((tmp_path / "report" / "index.html").read_text())


def test_its_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["--help"])
    help_text = capsys.readouterr().out
    for option in ("RUNS", "--out", "--benchmarks", "--predictions", "--quiet"):
        assert option in help_text
