"""The HTML page: a single file that loads nothing from any network.

Jinja2 escapes whatever a record says. The plots are the only markup that comes from no template;
Matplotlib escapes their texts.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import jinja2
from markupsafe import Markup

import engine
from benchmarks.records.untrusted import printable
from benchmarks.report import formats
from benchmarks.report.content import Report
from benchmarks.report.run_details import Gallery, anchors, details
from benchmarks.report.sections import sections
from benchmarks.report.tally import headline
from benchmarks.report.time_to import NOT_YET
from benchmarks.report.verdicts import BUDGET

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 25  # leaders; the others are in a fold
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
    ids = anchors(report)
    runs = details(report, ids, gallery)
    return environment.get_template("page.html").render(
        version=engine.__version__,
        root=printable(report.root),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # ours
        script=Markup(script),  # ours
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        report=report,
        glance=list(_glance(report)),
        benchmarks=list(_benchmarks(report)),
        sections=sections(report),
        shown=SHOWN,
        runs=runs,
        ids=ids,
        networks=list(
            dict.fromkeys(run["network"] for run in runs if run["id"] and run["network"])
        ),
        pictures=gallery.pictures,
        signs=formats.SIGNS,
        tones=formats.TONES,
        evidence=formats.EVIDENCE,
        statistic=formats.STATISTIC,
        budget=BUDGET,
        not_yet=NOT_YET,
        next_figure=itertools.count(1).__next__,
    )


def _glance(report: Report) -> Iterator[tuple[str, str, str]]:
    """The main figures: a title, a value and a line of details each."""
    finished = sum(run.finished for run in report.runs)
    rest = [f"{n:,} {state}" for state, n in report.states.items() if state != "finished"]
    rest += [f"{report.not_started:,} planned, not started"] if report.not_started else []
    of_all = f"{finished:,} of {len(report.runs):,}"
    yield "Runs finished", of_all, ", ".join(rest) or "none missing"
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
