"""The HTML page: one file that asks nothing of any network.

Jinja2 escapes whatever a record says; the plots are the only markup that does not come from a
template, and their texts went through matplotlib's own escaping.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import engine
from benchmarks.records.conditions import Conditions
from benchmarks.records.runs import BROKEN, RunFile
from benchmarks.records.untrusted import clean
from benchmarks.report import reproduce, words
from benchmarks.report.content import Content
from benchmarks.report.mistakes import Mistake, Pictures
from benchmarks.report.plots import small_curve
from benchmarks.report.plots.style import Plot
from benchmarks.report.reported import Row
from benchmarks.report.verdicts import AGREES, BUDGET, HIGHER, LOWER

TEMPLATES = Path(__file__).parent / "templates"
PICTURE_BYTES = 1_500_000  # of test images on a page; each is there once, however many runs err
MOST_CLASSES = 20  # of a confusion matrix that is drawn


def html(content: Content) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": words.share, "measured": words.measured, "points": words.points,
        "count": words.count, "time": words.time, "work": words.work, "states": words.states,
        "reported": words.reported, "interval": words.interval,
        "soft": words.soft, "shortly": words.shortly,
    }  # fmt: skip
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    gallery = Gallery()
    runs = [_run(content, number, run, gallery) for number, run in enumerate(content.runs)]
    places = {run["folder"]: run["id"] for run in runs}
    return environment.get_template("page.html").render(
        version=engine.__version__,
        root=clean(content.root),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # ours
        script=Markup(script),  # ours
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        content=content,
        glance=list(_glance(content)),
        reports=list(_reports(content)),
        runs=runs,
        places=places,
        gallery=gallery.pictures,
        signs=words.SIGNS,
        tones=words.TONES,
        evidence=words.EVIDENCE,
        statistic=words.STATISTIC,
        budget=BUDGET,
        figure=figure,
        figures=_Counter(),
    )


class _Counter:
    """Numbers the figures of a page."""

    def __init__(self) -> None:
        self.value = 0

    def next(self) -> int:
        """The next number."""
        self.value += 1
        return self.value


class Gallery:
    """The test images of a page, each once, as long as there is room."""

    def __init__(self) -> None:
        self.pictures: dict[str, str] = {}  # base64: id
        self.room = PICTURE_BYTES

    def add(self, mistakes: tuple[Mistake, ...]) -> list[tuple[Mistake, str]] | None:
        """The mistakes with the ids of their images; None where they find no room."""
        new = {mistake.png for mistake in mistakes} - self.pictures.keys()
        wanted = sum(len(png) + 90 for png in new)
        if wanted > self.room:
            return None
        self.room -= wanted
        for mistake in mistakes:
            self.pictures.setdefault(mistake.png, f"i{len(self.pictures)}")
        return [(mistake, self.pictures[mistake.png]) for mistake in mistakes]


def figure(plot: Plot) -> Markup:
    """A plot as the page's own markup."""
    return Markup(plot.inline)


def _glance(content: Content) -> Iterator[tuple[str, str, str]]:
    """A title, a figure and a line: what a reader in a hurry is to take along."""
    done = sum(run.finished for run in content.runs)
    others = [f"{n} {state}" for state, n in content.states.items() if state != "finished"]
    others += [f"{content.not_begun} planned, not begun"] if content.not_begun else []
    yield "Runs finished", f"{done} of {len(content.runs)}", ", ".join(others) or "none is missing"
    foremost = content.foremost
    inside = [
        d for d in content.designs if d.conditions == foremost and 0 < (d.params or 0) <= BUDGET
    ]
    if inside and foremost:
        best = max(inside, key=lambda design: design.accuracy.mean)
        said = f"{best.name}, {best.params:,} parameters, n = {best.accuracy.n}; {foremost.words}"
        title = "Best below 5 M" + ("" if foremost.full else ", shortened runs")
        yield title, f"{words.measured(best.accuracy)} %", said
    judged = [row.verdict for row in content.rows if row.verdict in (AGREES, HIGHER, LOWER)]
    if judged:
        said = f"{judged.count(HIGHER)} measured higher, {judged.count(LOWER)} lower"
        yield "Reported values that hold", f"{judged.count(AGREES)} of {len(judged)}", said
    elif content.rows:
        waiting = "no full run of a reported value is finished"
        yield "Reported values that hold", words.NONE, waiting
    for bench in content.benches:
        for kind, peer, title in (
            ("loader", "FFCV uint8", "Feed, times FFCV"),
            ("step", "plain", "Step, times plain PyTorch"),
        ):
            ratios = [
                p for p in bench.pairs.get(kind, []) if peer in p.name and "ring" not in p.name
            ]
            if ratios:
                pair = ratios[0]
                said = f"{pair.name}; {pair.low:.3g} to {pair.high:.3g}; {bench.machine}"
                yield title, f"{pair.ratio:.3g}×", said


def _reports(content: Content) -> Iterator[dict[str, Any]]:
    """Every report with its tables, a table a set of conditions."""
    for report in dict.fromkeys(row.report or row.sweep for row in content.rows):
        mine = [row for row in content.rows if (row.report or row.sweep) == report]
        shared = _shared(mine)
        tables: dict[Conditions, list[Row]] = {}
        for row in mine:
            tables.setdefault(row.conditions, []).append(row)
        yield {
            "name": report,
            "title": f"Report {report}" if report.isdigit() else report,
            "tables": list(tables.items()),
            "curves": content.curves.get(report, []),
            "recipes": _recipes(mine),
            "shared": shared,
            "remarks": {row: words.remarks(row, _shared_of(row, shared)) for row in mine},
        }


def _shared(rows: list[Row]) -> dict[str, list[str]]:
    """Notes that all rows of an experiment have: they are told once, below the tables."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row.experiment} {row.title}", []).append(row)
    return {
        name: notes
        for name, group in groups.items()
        if len(group) > 1
        and (notes := [note for note in group[0].notes if all(note in r.notes for r in group)])
    }


def _shared_of(row: Row, shared: dict[str, list[str]]) -> list[str]:
    return shared.get(f"{row.experiment} {row.title}", [])


def _recipes(rows: list[Row]) -> dict[tuple[str, str], list[str]]:
    """Why which recipe was taken, with the experiments of each reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.why:
            experiments = found.setdefault((row.recipe, row.why), [])
            if row.experiment not in experiments:
                experiments.append(row.experiment)
    return found


def _run(content: Content, number: int, run: RunFile, gallery: Gallery) -> dict[str, Any]:
    """What the table and the fold of a run show."""
    plan = content.planned.get(run["fingerprint"] or "")
    conditions = next(
        (d.conditions for d in content.designs if any(r is run for r in d.runs)), None
    )
    found = content.pictures.get(run.folder, "")
    mistakes = gallery.add(found.mistakes) if isinstance(found, Pictures) else None
    return {
        "id": f"run{number}",
        "folder": run.folder,
        "run": run,
        "values": run.values,
        "plan": plan,
        "conditions": conditions,
        "curve": small_curve.curve(run),
        "changed": {k: _setting(v) for k, v in reproduce.changed(run.config).items()},
        "unknown": [clean(key) for key in reproduce.unknown(run.config)],
        "differs": {clean(key) for key in (plan.differs if plan else {})},
        "command": clean(reproduce.command(run.config)) if run.config else "",
        "began": _words(run.environment.get("command")),
        "environment": list(_environment(run)),
        "found": found if isinstance(found, Pictures) else None,
        "why": found if isinstance(found, str) else "",
        "mistakes": mistakes,
        "drawn": isinstance(found, Pictures) and len(found.classes) <= MOST_CLASSES,
        "shades": _shades(found) if isinstance(found, Pictures) else [],
        "broken": run.status == BROKEN,
    }


def _shades(found: Pictures) -> list[list[int]]:
    """How dark each cell of the confusion matrix is, from 0 to 9, of its row."""
    rows = []
    for row in found.confusion:
        total = max(sum(row), 1)
        rows.append([min(9, round(9 * (value / total) ** 0.5)) for value in row])
    return rows


def _environment(run: RunFile) -> Iterator[tuple[str, str]]:
    versions = run.environment.get("versions") or run.record.get("versions")
    for key in ("device", "platform", "cores", "threads", "cuda", "cudnn"):
        value = run.environment.get(key, run.record.get(key))
        if value is not None:
            yield key, _short(value)
    for key in ("precision", "compiled"):
        if run.record.get(key) is not None:
            yield key, _short(run.record[key])
    if isinstance(versions, dict):
        yield "versions", ", ".join(f"{clean(k)} {_short(v)}" for k, v in versions.items())


def _setting(value: Any) -> str:
    return _short(reproduce.written(value) if isinstance(value, (list, bool)) else value)


def _words(command: Any) -> str:
    if not isinstance(command, list):
        return ""
    return _short(" ".join(str(word) for word in command), 1000)


def _short(value: Any, most: int = 300) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value, default=str))
    return text if len(text) <= most else text[:most] + "…"
