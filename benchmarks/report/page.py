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
from benchmarks.report.formats import unique_name
from benchmarks.report.networks import networks
from benchmarks.report.plots.learning_curves import run_curve
from benchmarks.report.tally import headline
from benchmarks.report.verdicts import BUDGET, NOT_RUN

TEMPLATES = Path(__file__).parent / "templates"
PICTURE_BYTES = 1_500_000  # of test images on a page; each is there once, however many runs err
SHOWN = 25  # leaders; the others are in a fold
MOST_CLASSES = 20  # of a confusion matrix that is drawn
FILTERS = (
    "as_reported", "change", "claimed", "count", "difference", "interval", "measured",
    "measured_as", "remarks", "reported", "share", "soft", "states", "time", "training", "work",
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
    planned, ids = report.plans.sharing, _ids(report.runs)
    drawn = networks(report.runs)
    runs = [
        _run(report, run, planned.get(run["fingerprint"] or "", []), gallery)
        | {"id": ids[run.folder], "network": drawn.get(run.folder)}
        for run in report.runs
    ]
    return environment.get_template("page.html").render(
        version=engine.__version__,
        root=printable(report.root),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # ours
        script=Markup(script),  # ours
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        report=report,
        glance=list(_glance(report)),
        benchmarks=list(_benchmarks(report)),
        sections=_sections(report),
        shown=SHOWN,
        runs=runs,
        ids=ids,
        networks=list(dict.fromkeys(drawn.values())),
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
    groups = [group for group in report.groups if group.conditions == conditions]
    within = [group for group in groups if 0 < (group.params or 0) <= BUDGET]
    if groups and conditions:
        best = max(within or groups, key=lambda group: group.accuracy.mean)
        run = best.runs[0]
        params = f"{best.params:,} parameters, " if best.params else ""
        details = f"{best.name}, {params}n = {best.accuracy.n}; of the runs with the most training"
        details += f" ({conditions.words}); this one {formats.training(run)}"
        if run.folder in report.chance:
            details += f"; no better than guessing ({report.chance[run.folder]:g} %)"
        title = "Best below 5 M" if within else "Best of all, over 5 M"
        title += "" if conditions.full else ", shortened runs"
        yield title, f"{formats.measured(best.accuracy)} %", details
    counts = headline(report.results)
    if counts is not None:
        yield "Reported values confirmed", *counts


def _benchmarks(report: Report) -> Iterator[tuple[str, str, str]]:
    """The main figures of the project's own benchmarks."""
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


def _sections(report: Report) -> list[dict[str, Any]]:
    """The reader's own sweeps, then the reports of which something was begun, then the rest."""
    sections = [_section(report, name, tables) for name, tables in report.tables.items()]
    return sorted(sections, key=lambda each: (each["reported"], not each["tables"]))


def _section(
    report: Report, name: str, tables: Mapping[Conditions, Sequence[ExperimentResult]]
) -> dict[str, Any]:
    """A table per set of conditions of what was begun, a line for every other experiment."""
    begun: dict[Conditions, list[ExperimentResult]] = {}
    waiting: dict[tuple[str, Conditions], list[ExperimentResult]] = {}
    for conditions, results in tables.items():
        started = {result.plan.heading for result in results if _is_begun(result)}
        for result in results:
            if result.plan.heading in started:
                begun.setdefault(conditions, []).append(result)
            else:
                waiting.setdefault((result.plan.heading, conditions), []).append(result)
    by_experiment: dict[str, list[ExperimentResult]] = {}
    recipes: dict[tuple[str, str], list[str]] = {}  # with its reason: the experiments
    for result in itertools.chain(*tables.values()):
        plan = result.plan
        by_experiment.setdefault(plan.heading, []).append(result)
        experiments = recipes.setdefault((plan.recipe, plan.why), []) if plan.why else []
        if plan.experiment not in experiments:
            experiments.append(plan.experiment)
    return {
        "title": f"Report {name}" if name.isdigit() else f"Sweep {name}",
        "reported": any(result.reported for result in itertools.chain(*tables.values())),
        "tables": begun,
        "waiting": [
            (heading, conditions, _waiting(results), results)
            for (heading, conditions), results in waiting.items()
        ],
        "curves": report.curves.get(name, []),
        "ablations": report.ablations.get(name, []),
        "recipes": recipes,
        "notes": {  # that all results of an experiment share: shown once, below the tables
            heading: notes
            for heading, results in by_experiment.items()
            if len(results) > 1
            and (notes := [n for n in results[0].notes if all(n in r.notes for r in results)])
        },
    }


def _is_begun(result: ExperimentResult) -> bool:
    return any(state not in (NOT_RUN, "queued") for state, _ in result.states)


def _waiting(results: Sequence[ExperimentResult]) -> str:
    """`12 settings, 36 runs: not run`."""
    settings = {result.plan.label: result.planned for result in results}
    states = dict.fromkeys(state for result in results for state, _ in result.states)
    words = f"{len(settings)} {'setting' if len(settings) == 1 else 'settings'}"
    runs = sum(settings.values())
    return f"{words}, {runs} {'run' if runs == 1 else 'runs'}: {', '.join(states)}"


def _ids(runs: Sequence[RunRecord]) -> dict[str, str]:
    """By folder, where the details of a run are: `run-resnet453-s0`."""
    taken: set[str] = set()
    return {run.folder: unique_name(f"run-{run.folder}", taken) for run in runs}


def _run(
    report: Report, run: RunRecord, plans: Sequence[PlanEntry], gallery: Gallery
) -> dict[str, Any]:
    """What the table and the details of a run show."""
    analysis = report.analyses[run.folder]
    known = isinstance(analysis, ErrorAnalysis)
    command = run.environment.get("command")
    return {
        "record": run,
        "plans": plans,
        "conditions": conditions_of(run, report.plans.scales) if run.finished else None,
        "curve": run_curve(run),
        "changed": {key: _setting(v) for key, v in reproduce.changed(run.config).items()},
        "unknown": [printable(key) for key in reproduce.unknown(run.config)],
        "differs": {printable(key) for plan in plans for key in plan.differs},
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
