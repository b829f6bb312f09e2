"""`configs/sweeps/` against the catalogue of the reports, of which a JSON here is a plain copy."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
import yaml

from engine.sweep.arguments import read
from engine.sweep.planned import PlannedRun, different
from engine.sweep.reported import ReportedValue
from tests.support.paths import ROOT, SHARED

FOLDER = ROOT / "configs" / "sweeps"
REPORTS = ("000", "001", "002", "003", "004")
CATALOGUE = json.loads((ROOT / "tests/support/catalogue_experiments.json").read_text())
PAGE = (ROOT / "docs" / "sweeps.md").read_text("utf-8")
EXPERIMENTS = {each["id"]: each for each in CATALOGUE["experiments"]}
BUDGET = 5_000_000
ONLY_IN_THE_REPORTS = {"1.9", "1.10", "2.2", "4.6"}  # the catalogue lacks them


@functools.cache
def planned(name: str = "reports") -> tuple[PlannedRun, ...]:
    """Every run of a sweep file; without data, CIFAR-10's numbers are assumed."""
    argv = ["--sweep-file", str(FOLDER / f"{name}.yaml"), "--dry-run"]
    argv += ["--data.train", "nowhere/train.beton", "--data.test", "nowhere/test.beton"]
    return read(argv).plan.runs


def runs_of(experiment: str) -> list[PlannedRun]:
    return [run for run in planned() if run.experiment == experiment]


def network(run: PlannedRun) -> str:
    """The network's name without its dropout, which has no parameters."""
    return re.sub(r"_(block)?drop[0-9.]+$", "", run.variant)


def words_of(run: PlannedRun) -> str:
    """All its words."""
    return " ".join([*run.notes, run.why, *(claim.note for claim in run.reported)])


def typed(claim: ReportedValue) -> dict[str, Any]:
    """What a reported value is of: its keys without number, evidence, remark and rounding."""
    left_out = {"value", "evidence", "note"}
    if claim.read == "printed" and claim.measure != "parameters":
        left_out.add("precision")
    content = json.loads(json.dumps(claim.content()))
    return {key: value for key, value in content.items() if key not in left_out}


def setting(run: PlannedRun, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(run.config, section), name)


def test_all_sweep_files_are_read_without_a_problem() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} >= {"reports"} | {
        f"report_{number}" for number in REPORTS
    }
    for path in FOLDER.glob("*.yaml"):
        assert planned(path.stem)


def test_the_sweep_of_all_reports_is_that_of_each_together() -> None:
    single = [run.name for number in REPORTS for run in planned(f"report_{number}")]
    assert [run.name for run in planned()] == single
    for number in REPORTS:
        assert {run.report for run in planned(f"report_{number}")} == {number}


def test_every_experiment_of_the_catalogue_is_there_and_no_other() -> None:
    assert {run.experiment for run in planned()} == set(EXPERIMENTS)
    assert len(EXPERIMENTS) == 46


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_its_runs_networks_and_settings(name: str) -> None:
    expected, runs = EXPERIMENTS[name], runs_of(name)
    assert {run.report for run in runs} == {expected["report"]}
    assert len({run.point for run in runs}) >= expected["runs"]
    assert {network(run) for run in runs} >= set(expected["variants"])
    assert {run.recipe for run in runs} >= set(expected["recipes"])
    for key, values in expected["settings"].items():
        missing = {*values} - {setting(run, key) for run in runs}
        assert not missing, f"{key} is never {missing}"


@pytest.mark.parametrize("name", ["0.8", "0.9", "0.9-first"])
def test_a_grid_is_complete(name: str) -> None:
    axes = EXPERIMENTS[name]["settings"]
    one, other = axes
    cells = {(setting(run, one), setting(run, other)) for run in runs_of(name)}
    assert cells == {(a, b) for a in axes[one] for b in axes[other]}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_reported_number_is_beside_a_run_of_its_network_and_says_what_it_is_of(
    name: str,
) -> None:
    claims = [
        [variant, claim.evidence, claim.value, typed(claim)]
        for run in runs_of(name)
        for claim in run.reported
        for variant in (network(run), "")
    ]
    for number in EXPERIMENTS[name]["numbers"]:
        assert number in claims
    known = [number[1:] for number in EXPERIMENTS[name]["numbers"]]
    for _, *claim in claims:
        assert claim in known  # and none made up


def test_every_number_of_the_ancestor_is_a_running_mean() -> None:
    claims = [claim for run in planned() for claim in run.reported]
    running = [claim for claim in claims if claim.estimator == "running_mean"]
    assert {id(claim) for claim in claims if claim.evidence == "ancestor"} <= set(map(id, running))
    assert {run.report for run in planned() for claim in run.reported if claim in running} == {
        "000",
        "002",
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_contradictions_are_noted(name: str) -> None:
    text = " ".join(words_of(run) for run in runs_of(name))
    for fragment in EXPERIMENTS[name]["notes"]:
        assert fragment in text


def test_every_run_says_its_recipe_and_why() -> None:
    for run in planned():
        assert run.recipe and len(run.why) > 10, run.name
        assert run.title
        assert all(claim.evidence and claim.statistic for claim in run.reported)
    recipes = {path.stem for path in (ROOT / "configs" / "recipes").glob("*.yaml")}
    assert {run.recipe for run in planned()} == recipes


def test_every_network_of_the_catalogue_is_trained_and_has_its_parameters() -> None:
    counts = {network(run): run.params for run in planned()}
    for variant, parameters in CATALOGUE["parameters"].items():
        assert counts[variant] == parameters


def test_the_budget_is_lifted_only_where_it_must_be_and_a_note_says_so() -> None:
    for run in planned():
        assert run.config.model.budget == (0 if run.params > BUDGET else BUDGET), run.name
        assert ("over the budget" in " ".join(run.notes)) == (run.params > BUDGET), run.name


@pytest.mark.parametrize("name", [*(f"report_{number}" for number in REPORTS), "reports"])
def test_the_table_in_docs_counts_what_is_there(name: str) -> None:
    runs = planned(name)
    once = different(runs)
    experiments = len({run.experiment for run in runs})
    costs = (
        f"{experiments} | {len(runs)} | {len(once)} | {sum(run.petaflops for run in once):,.0f} |"
    )
    assert f"[`{name}.yaml`](../configs/sweeps/{name}.yaml) | {costs}" in PAGE


def test_finals_have_several_seeds() -> None:
    for name in ("0.16", "1.2", "2.1", "3.9", "4.5"):
        assert {run.seed for run in runs_of(name)} == {0, 1, 2}


def test_a_note_with_a_comma_is_one_note() -> None:
    """In a list in brackets an unquoted comma would cut it in two."""
    for path in FOLDER.glob("report_*.yaml"):
        for line in re.findall(r"^ *(?:- )?notes: (\[.*\])$", path.read_text("utf-8"), re.M):
            (note,) = yaml.safe_load(line)
            assert len(note) > 10


@pytest.mark.skipif(
    not (SHARED / "reports" / "catalogue.md").exists(),
    reason="the catalogue does not lie in ../shared/reports",
)
def test_the_copy_has_every_experiment_and_number_of_the_catalogue() -> None:
    text = (SHARED / "reports" / "catalogue.md").read_text("utf-8")
    text = text[text.index("## 3.") : text.index("## 4.")]
    ids = set(re.findall(r"^\| ([0-4]\.[0-9]+b?)\b", text, re.M))
    assert ids == EXPERIMENTS.keys() - {"0.9-first", "2.1"} - ONLY_IN_THE_REPORTS
    for experiment in EXPERIMENTS.values():
        for _, _, value, of in experiment["numbers"]:
            if of.get("measure") != "parameters" and of.get("read") != "figure":
                assert any(f"{value:.{digits}f}" in text for digits in (0, 1, 2, 4)), value
    claimed = {claim.value for run in planned() for claim in run.reported}
    words = " ".join(words_of(run) for run in planned())
    for number in re.findall(r"(?<![.\d])\d{2}\.\d{1,2}(?!\d)", text):
        assert float(number) in claimed or number in words, number
