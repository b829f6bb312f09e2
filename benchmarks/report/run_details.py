"""What the page shows of each run: its curve, settings, command, environment and mistakes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.records.conditions import conditions_of
from benchmarks.records.plans import PlanEntry
from benchmarks.records.runs import RunRecord
from benchmarks.records.untrusted import printable
from benchmarks.report import reproduce
from benchmarks.report.content import Report
from benchmarks.report.error_analysis import ErrorAnalysis, WorstImage
from benchmarks.report.formats import unique_name
from benchmarks.report.networks import networks
from benchmarks.report.plots.learning_curves import run_curve

PICTURE_BYTES = 1_500_000  # of test images on a page; each is there once, however many runs err
MOST_CLASSES = 20  # of a confusion matrix that is drawn
MOST_DETAILED = 400  # runs with details: a page of thousands would be slow in every browser


def anchors(report: Report) -> dict[str, str]:
    """By folder, where the details of a run are: `run-resnet453-s0`.

    Of very many runs those without a result and the best have details.
    """
    unfinished = [run for run in report.runs if not run.finished or run.problems]
    leaders = [
        run for board in report.boards for leader in board.leaders for run in leader.group.runs
    ]
    chosen = (unfinished[: MOST_DETAILED // 2], leaders, unfinished)
    folders = dict.fromkeys(run.folder for run in itertools.chain(*chosen))
    detailed = set(itertools.islice(folders, MOST_DETAILED))
    taken: set[str] = set()
    return {
        run.folder: unique_name(f"run-{run.folder}", taken)
        for run in report.runs
        if run.folder in detailed
    }


def details(report: Report, ids: dict[str, str], gallery: Gallery) -> list[dict[str, Any]]:
    """A mapping for the templates per run; those in `ids` have details."""
    planned, drawn = report.plans.sharing, networks(report.runs)
    return [
        {
            "record": run,
            "id": ids.get(run.folder),
            "plans": (plans := planned.get(run["fingerprint"] or "", [])),
            "conditions": conditions_of(run, report.plans.scales) if run.finished else None,
            "network": drawn.get(run.folder),
            **(_details(report, run, plans, gallery) if run.folder in ids else {}),
        }
        for run in report.runs
    ]


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


def _details(
    report: Report, run: RunRecord, plans: Sequence[PlanEntry], gallery: Gallery
) -> dict[str, Any]:
    """What the details of a run show."""
    analysis = report.analyses[run.folder]
    known = isinstance(analysis, ErrorAnalysis)
    command = run.environment.get("command")
    return {
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
