"""The HTML page: a single file that loads nothing from any network.

Jinja2 escapes whatever a record says. The plots are the only markup that comes from no template;
Matplotlib escapes their texts.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import engine
from benchmarks.records.conditions import Conditions, conditions_of
from benchmarks.records.plans import PlanEntry
from benchmarks.records.runs import RunRecord
from benchmarks.records.untrusted import printable
from benchmarks.report import formats, reproduce
from benchmarks.report.content import Report
from benchmarks.report.error_analysis import ErrorAnalysis, WorstImage
from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.plots import small_curve
from benchmarks.report.plots.style import Plot
from benchmarks.report.tally import headline
from benchmarks.report.verdicts import BUDGET

TEMPLATES = Path(__file__).parent / "templates"
PICTURE_BYTES = 1_500_000  # of test images on a page; each is there once, however many runs err
MOST_CLASSES = 20  # of a confusion matrix that is drawn
FILTERS = (
    "as_reported", "claimed", "count", "difference", "measured", "measured_as", "remarks",
    "reported", "share", "soft", "states", "time", "work",
)  # fmt: skip


def html(report: Report) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formats, name) for name in FILTERS}
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    gallery = Gallery()
    planned = report.plans.by_fingerprint
    runs = [
        _run(report, run, planned.get(run["fingerprint"] or ""), gallery) | {"id": f"run{number}"}
        for number, run in enumerate(report.runs)
    ]
    return environment.get_template("page.html").render(
        version=engine.__version__,
        root=printable(report.root),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # ours
        script=Markup(script),  # ours
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        report=report,
        glance=list(_glance(report)),
        sections=[
            _section(name, tables, report.curves.get(name, []))
            for name, tables in report.tables.items()
        ],
        runs=runs,
        ids={run["record"].folder: run["id"] for run in runs},
        pictures=gallery.pictures,
        signs=formats.SIGNS,
        tones=formats.TONES,
        evidence=formats.EVIDENCE,
        statistic=formats.STATISTIC,
        budget=BUDGET,
        next_figure=itertools.count(1).__next__,
    )


class Gallery:
    """The test images of a page, each once, as long as there is room."""

    def __init__(self) -> None:
        self.pictures: dict[str, str] = {}  # base64: id
        self.room = PICTURE_BYTES

    def add(self, images: Sequence[WorstImage]) -> list[tuple[WorstImage, str]] | None:
        """The images with their ids; None if there is no room for them."""
        new = {image.png for image in images} - self.pictures.keys()
        needed = sum(len(png) + 90 for png in new)
        if needed > self.room:
            return None
        self.room -= needed
        for image in images:
            self.pictures.setdefault(image.png, f"i{len(self.pictures)}")
        return [(image, self.pictures[image.png]) for image in images]


def _glance(report: Report) -> Iterator[tuple[str, str, str]]:
    """The main figures: a title, a value and a line of details each."""
    finished = sum(run.finished for run in report.runs)
    rest = [f"{n} {state}" for state, n in report.states.items() if state != "finished"]
    rest += [f"{report.not_started} planned, not started"] if report.not_started else []
    yield "Runs finished", f"{finished} of {len(report.runs)}", ", ".join(rest) or "none missing"
    conditions = report.main_conditions
    within = [
        group
        for group in report.groups
        if group.conditions == conditions and 0 < (group.params or 0) <= BUDGET
    ]
    if within and conditions:
        best = max(within, key=lambda group: group.accuracy.mean)
        n = best.accuracy.n
        details = f"{best.name}, {best.params:,} parameters, n = {n}; {conditions.words}"
        title = "Best below 5 M" + ("" if conditions.full else ", shortened runs")
        yield title, f"{formats.measured(best.accuracy)} %", details
    counts = headline(report.results)
    if counts is not None:
        yield "Reported values confirmed", *counts
    for results in report.machines:
        for kind, peer, title in (
            ("loader", "FFCV uint8", "Loader, times FFCV"),
            ("step", "plain", "Step, times plain PyTorch"),
        ):
            for pair in results.pairs.get(kind, []):
                if peer in pair.name and "ring" not in pair.name:
                    details = f"{pair.name}; {pair.low:.3g} to {pair.high:.3g}; {results.machine}"
                    yield title, f"{pair.ratio:.3g}×", details
                    break


def _section(
    name: str, tables: Mapping[Conditions, Sequence[ExperimentResult]], curves: Sequence[Plot]
) -> dict[str, Any]:
    """The experiments of a report or sweep: a table per set of conditions, and what they share."""
    by_experiment: dict[str, list[ExperimentResult]] = {}
    recipes: dict[tuple[str, str], list[str]] = {}  # with its reason: the experiments
    for result in itertools.chain(*tables.values()):
        plan = result.plan
        by_experiment.setdefault(plan.heading, []).append(result)
        experiments = recipes.setdefault((plan.recipe, plan.why), []) if plan.why else []
        if plan.experiment not in experiments:
            experiments.append(plan.experiment)
    return {
        "title": f"Report {name}" if name.isdigit() else name,
        "tables": tables,
        "curves": curves,
        "recipes": recipes,
        "notes": {  # that all results of an experiment share: shown once, below the tables
            heading: notes
            for heading, results in by_experiment.items()
            if len(results) > 1
            and (notes := [n for n in results[0].notes if all(n in r.notes for r in results)])
        },
    }


def _run(
    report: Report, run: RunRecord, plan: PlanEntry | None, gallery: Gallery
) -> dict[str, Any]:
    """What the table and the details of a run show."""
    analysis = report.analyses[run.folder]
    known = isinstance(analysis, ErrorAnalysis)
    command = run.environment.get("command")
    return {
        "record": run,
        "plan": plan,
        "conditions": conditions_of(run, report.plans.scales) if run.finished else None,
        "curve": small_curve.curve(run),
        "changed": {key: _setting(v) for key, v in reproduce.changed(run.config).items()},
        "unknown": [printable(key) for key in reproduce.unknown(run.config)],
        "differs": {printable(key) for key in (plan.differs if plan else {})},
        "command": printable(reproduce.command(run.config)) if run.config else "",
        "started_as": _text(" ".join(map(str, command)), 1000) if isinstance(command, list) else "",
        "environment": list(_environment(run)),
        "analysis": analysis if known else None,
        "reason": "" if known else analysis,
        "worst": gallery.add(analysis.worst) if isinstance(analysis, ErrorAnalysis) else None,
        "shades": _shades(analysis) if isinstance(analysis, ErrorAnalysis) else None,
    }


def _shades(analysis: ErrorAnalysis) -> list[list[int]] | None:
    """How dark each cell of the confusion matrix is, from 0 to 9; None if it is too large."""
    if len(analysis.classes) > MOST_CLASSES:
        return None
    return [
        [min(9, round(9 * (value / max(sum(row), 1)) ** 0.5)) for value in row]
        for row in analysis.confusion
    ]


def _environment(run: RunRecord) -> Iterator[tuple[str, str]]:
    versions = run.environment.get("versions") or run.record.get("versions")
    for key in ("device", "platform", "cores", "threads", "cuda", "cudnn"):
        value = run.environment.get(key, run.record.get(key))
        if value is not None:
            yield key, _text(value)
    for key in ("precision", "compiled"):
        if run.record.get(key) is not None:
            yield key, _text(run.record[key])
    if isinstance(versions, dict):
        yield "versions", ", ".join(f"{printable(k)} {_text(v)}" for k, v in versions.items())


def _setting(value: Any) -> str:
    return _text(reproduce.as_flag(value) if isinstance(value, (list, bool)) else value)


def _text(value: Any, most: int = 300) -> str:
    text = printable(value if isinstance(value, str) else json.dumps(value, default=str))
    return text if len(text) <= most else text[:most] + "…"
