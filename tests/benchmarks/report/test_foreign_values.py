"""Any value anywhere in any file that a report reads costs at most what it is about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import tables
from benchmarks.compare import __main__ as compare
from benchmarks.report import __main__ as report
from engine.errors import run_command
from engine.explore import speed
from tests.support.pages import check_page
from tests.support.paths import ROOT
from tests.support.records import log, plan_entry, record, reported, write_plan, write_run

RESULTS = ROOT / "benchmarks" / "results" / "cpu-2-cores"
HOSTILE = (
    "1e308", "-1e308", "5e-324", "1e400", "-1", "0", "0.5", str(2**63), "9" * 400, "NaN", "null",
    "true", "[]", "{}", '""', '"a"', '"\\ud800"', '"\\u001b[2J\\r\\n"', '"=cmd()"',
    '"<script>alert(1)</script>"', "[" * 200 + "]" * 200, '{"a": [1, {"b": null}]}',
    "[1e308, -1e308]",
)  # fmt: skip
MARK = "HOSTILE VALUE"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two settings, their sweep, and the benchmarks of a machine."""
    root = tmp_path_factory.mktemp("good")
    contents = [record(seed=seed, epochs=4) for seed in range(2)]
    contents.append(record("resnet1111", epochs=4))
    for number, content in enumerate(contents):
        write_run(root / "runs", f"run{number}", content, log(content))
    values = [reported(94.3), reported(5, measure="epochs", threshold={"test_loss": 1.0})]
    entries = [plan_entry(c, f"4.5/x/s{n}", values=values) for n, c in enumerate(contents)]
    write_plan(root / "runs", entries)
    (root / "results" / "machine").mkdir(parents=True)
    for name in ("loader.json", "step.json"):
        shutil.copy(RESULTS / name, root / "results" / "machine" / name)
    return root


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    keys = range(len(content)) if isinstance(content, list) else list(content)
    for key in keys:
        yield content, key
        if isinstance(content[key], (list, dict)):
            yield from _places(content[key])


def _damage(text: str, data: st.DataObject) -> str:
    """JSON with one value, or one name, replaced."""
    content = json.loads(text)
    places = list(_places(content))
    container, key = places[data.draw(st.integers(0, len(places) - 1))]
    if isinstance(container, dict) and data.draw(st.booleans()):
        container[MARK] = container.pop(key)
    else:
        container[key] = MARK
    value = data.draw(st.sampled_from(HOSTILE))
    quoted = f'"{MARK}"'
    renamed = value if value.startswith('"') else '"other"'
    return json.dumps(content).replace(f"{quoted}:", f"{renamed}:").replace(quoted, value)


def _check(good: Path, target: Path, data: st.DataObject, capsys: Any, count: int) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(good, target)
    files = sorted(path for path in target.rglob("*.json*") if path.is_file())
    for _ in range(count):
        path = files[data.draw(st.integers(0, len(files) - 1))]
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        line = data.draw(st.integers(0, len(lines) - 1))
        try:
            lines[line] = _damage(lines[line], data)
        except (ValueError, RecursionError):
            continue  # damaged before
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    runs, results, out = target / "runs", target / "results", target / "report"
    flags = ["--out", str(out), "--benchmarks", str(results), "--quiet"]
    assert run_command(report.main, [str(runs), *flags]) == 0
    check_page((out / "index.html").read_text())
    assert len(tables.load(runs)) == 3
    tables.epochs(runs)
    sides = [str(good / "runs"), str(runs)]
    for both in (sides, sides[::-1]):
        assert run_command(compare.main, both) in (0, 1, 2)
    capsys.readouterr()


def test_a_configuration_that_is_none_costs_only_the_drawing(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(good / "runs", tmp_path / "runs")
    for number, section in enumerate((1e30, None, [3])):
        path = tmp_path / "runs" / f"run{number}" / "record.json"
        content = json.loads(path.read_text())
        content["config"]["data"] = section
        path.write_text(json.dumps(content))
    flags = ["--out", str(tmp_path / "report"), "--benchmarks", "nowhere"]
    assert run_command(report.main, [str(tmp_path / "runs"), *flags]) == 0
    assert speed.trained_network(content | {"config": {}, "flops": {"training": 10**400}}) is None


ANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=3, **ANY)  # type: ignore[arg-type]
@given(data=st.data())
def test_many_hostile_values_at_once_never_cost_the_report(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    _check(good, tmp_path / "copy", data, capsys, count=12)


@pytest.mark.long
@settings(max_examples=150, **ANY)  # type: ignore[arg-type]
@given(data=st.data())
def test_one_hostile_value_never_costs_the_report(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    _check(good, tmp_path / "copy", data, capsys, count=1)
